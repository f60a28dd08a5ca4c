r"""Recovery of PET and SPECT from partial volumes, as MONAI transforms.

What a scanner of resolution F (full width at half maximum) gives is interpolated onto the MRI's
grid, which blurs it a little more: a linear interpolation between voxels of edge h is, on average
over where the new voxels lie, a blur of variance :math:`h^2 / 6` along that edge. So the blur that
is undone (`monai_ddfm.likelihoods.recovery`) has along the axis k of the grid

.. math::

    \sigma_k^2 = \frac{F^2}{8 \ln 2} + \frac16 \sum_j R_{kj}^2 h_j^2 ,

R being the rotation between the two grids by their headers.

The result is an estimate: it depends on the width, on the registration and on a prior. It is a
volume of its own, and nothing else is made from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from monai_ddfm.data.transform_files import transform_matrix, transform_of
from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.point_spread import FWHM_PER_DEVIATION, gaussian_blur
from monai_ddfm.likelihoods.recovery import RecoveryOptions, recover
from monai_ddfm.likelihoods.resolution import estimate_fwhm
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.grid_geometry import affine_of
from monai_ddfm.transforms.simpleitk_bridge import resample
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.reports import add_report, reports_of

__all__ = ["RecoverMovingD", "RecoverMovingDict", "RecoverMovingd"]

_FLIP_XY: Final = np.diag([-1.0, -1.0, 1.0, 1.0])  # between RAS and LPS
_RECOVERABLE: Final = (Modality.PET, Modality.SPECT)
_WIDEST_MM: Final = 30.0
_MOST_OF_HEAD: Final = 0.25
_BODY: Final = 0.02
_MARGIN: Final = 1.5  # of the width: nearly four deviations
_LEAST_BODY: Final = 0.1
_SCALE: Final = 98.0
_MOST_LOOKED_AT: Final = 2**20
_NO_FILES: Final = "moving_recovered is not written as DICOM; use --format nifti, both or nrrd"


class _CannotTellError(Exception):
    """Why there is no estimate."""


class RecoverMovingd(MapTransform):  # type: ignore[misc]
    """Add an estimate of the moving volume without its partial-volume effect.

    What cannot be recovered (a volume in color, a width that cannot be told) is left out, and the
    report ``"recovery"`` on the moving volume says why.

    Args:
        fwhm: of the scanner's images in mm, or "auto": what the header says, else an estimate.
        modality: of the moving volume.
        fixed_key: the MRI, [1, H, W, D].
        moving_key: the registered volume on the same grid, [1, H, W, D] in its own units.
        output_key: where the estimate goes, [1, H, W, D] in the units of the moving volume.
        has_files: whether the format of the output has files of volumes; if not, nothing is
            computed.
        device: where to compute.
        options: of the recovery.

    Raises:
        InputError: the width cannot be used, or the modality is neither PET nor SPECT.
    """

    def __init__(
        self,
        fwhm: float | str = "auto",
        *,
        modality: str | Modality,
        fixed_key: str = "fixed",
        moving_key: str = "moving",
        output_key: str = "moving_recovered",
        has_files: bool = True,
        device: str | torch.device = "cpu",
        options: RecoveryOptions | None = None,
    ) -> None:
        super().__init__((fixed_key, moving_key))
        kind = Modality.parse(modality)
        if kind not in _RECOVERABLE:
            raise InputError(
                f"what a scanner has blurred is recovered in PET and SPECT, not in {kind}; leave "
                "--recover-moving out."
            )
        self.fwhm = _checked(fwhm)
        self.fixed_key, self.moving_key, self.output_key = fixed_key, moving_key, output_key
        self.has_files = has_files
        self.device = torch.device(device)
        self.options = options or RecoveryOptions()

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the case with the estimate.

        Args:
            data: the case, with both volumes on the MRI's own grid.
        """
        case = dict(data)
        moving = case[self.moving_key]
        why = "" if self.has_files else _NO_FILES
        try:
            if not why:
                case[self.output_key] = _recovered(
                    moving,
                    case[self.fixed_key],
                    fwhm=self.fwhm,
                    device=self.device,
                    options=self.options,
                )
        except _CannotTellError as error:
            why = str(error)
        if why:
            add_report(moving, "recovery", {"estimate": False, "notes": [why]})
        return case


def _recovered(
    moving: MetaTensor,
    fixed: MetaTensor,
    *,
    fwhm: float | None,
    device: str | torch.device = "cpu",
    options: RecoveryOptions | None = None,
) -> MetaTensor:
    """Recover a registered PET or SPECT.

    Args:
        moving: [1, H, W, D] in its own units, 0 or more, on the grid of `fixed`, with the
            transform and the metadata that registration and reading have left.
        fixed: the MRI, [1, H, W, D].
        fwhm: of the scanner in mm; None for what the header says, else an estimate.
        device: where to compute.
        options: see there.

    Returns:
        The estimate, [1, H, W, D] float32 on the device of `moving`, with the report
        ``"recovery"``.
    """
    chosen = options or RecoveryOptions()
    if len(moving) != 1 or len(fixed) != 1:
        raise _CannotTellError("a volume in color has no uptake to recover")
    f, v = (volume.as_tensor()[0].to(device).float() for volume in (moving, fixed))
    scales = _bright(f), _bright(v)
    if min(scales) <= 0:
        raise _CannotTellError("one of the volumes is empty where they meet")
    affine = affine_of(moving)
    spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    reach = [_MARGIN * (fwhm or _WIDEST_MM / 2) / edge for edge in spacing]
    box = _box(f > _BODY * scales[0], reach)
    measured = _measured(moving, fixed)
    f, v, w = (part[box].contiguous() for part in (f, v, measured.to(f)))
    added = _interpolation(moving, affine)
    width, source = _width(fwhm, moving, (f, v, w), spacing, scales, added)
    extents = [edge * (part.stop - part.start) for edge, part in zip(spacing, box, strict=True)]
    if width > _MOST_OF_HEAD * max(extents):
        raise _CannotTellError(
            f"a point spread of {width:g} mm is too wide for a head of {max(extents):.0f} mm; give "
            "the scanner's, some 4 to 8 mm for PET"
        )
    blur = gaussian_blur(
        f.shape, spacing, [math.hypot(width, FWHM_PER_DEVIATION * a) for a in added], like=f
    )
    found = recover(
        f,
        v,
        blur=blur,
        spacing=spacing,
        scale=scales[0],
        guide_scale=scales[1],
        measured=w,
        options=chosen,
    )
    result = moving.as_tensor().clone().float()
    result[0][box] = torch.where(w > 0, found, f).to(result)
    meta = {key: value for key, value in moving.meta.items() if key != "affine"}
    estimate = MetaTensor(result, affine=moving.affine, meta=meta)
    add_report(estimate, "recovery", _report(width, source, added, chosen, moving))
    return estimate


def _checked(fwhm: float | str) -> float | None:
    """Return the width in mm; None for "auto"."""
    if fwhm == "auto":
        return None
    try:
        width = float(fwhm)
    except (TypeError, ValueError):
        width = math.nan
    if not 0 < width <= _WIDEST_MM:
        raise InputError(
            f"a point spread of {fwhm} mm is unusable; give --recover-moving more than 0 and at "
            f"most {_WIDEST_MM:g} mm, or auto."
        )
    return width


def _bright(volume: Tensor) -> float:
    """Return what counts as bright: a high percentile of what is not background."""
    values = volume.flatten()[:: max(1, volume.numel() // _MOST_LOOKED_AT)].cpu().numpy()
    top = float(np.percentile(values, 99.9))
    return float(np.percentile(values[values > _LEAST_BODY * top], _SCALE)) if top > 0 else 0.0


def _box(body: Tensor, reach: Sequence[float]) -> tuple[slice, ...]:
    """Return the box around a mask, wider by so many voxels."""
    box = []
    for axis, size in enumerate(body.shape):
        others = [other for other in range(3) if other != axis]
        found = body.any(others[1]).any(others[0]).nonzero()
        first, last = int(found.min()), int(found.max()) + 1
        more = math.ceil(reach[axis])
        box.append(slice(max(0, first - more), min(size, last + more)))
    return tuple(box)


def _measured(moving: MetaTensor, fixed: MetaTensor) -> Tensor:
    """Return 1 where the moving scanner's field of view lies, on the MRI's grid."""
    affine, shape = moving.meta.get("original_affine"), _shape_read(moving)
    if affine is None or shape is None:
        return torch.ones(fixed.shape[1:])
    inside = MetaTensor(torch.ones(1, *shape), affine=torch.as_tensor(as_array(affine)))
    transform = transform_of(moving)
    found: Tensor = resample(inside, fixed, transform, interpolation="nearest", outside=0.0)[0]
    return found.as_tensor() if isinstance(found, MetaTensor) else found


def _shape_read(moving: MetaTensor) -> tuple[int, ...] | None:
    shape = reports_of(moving).get("reading", {}).get("shape")
    return tuple(shape[1:]) if shape else None


def _interpolation(moving: MetaTensor, affine: NDArray[np.float64]) -> list[float]:
    """Return the deviations in mm that the interpolation has added along the grid's axes."""
    read = moving.meta.get("original_affine")
    if read is None:
        return [0.0] * 3
    source = as_array(read).astype(np.float64)
    if _on_voxels(transform_of(moving), source, affine):
        return [0.0] * 3
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    along = axes.T @ source[:3, :3]
    return [float(a) for a in np.sqrt(np.square(along).sum(1) / 6)]


def _on_voxels(transform: Any, source: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    """Whether voxels of the target are voxels of the source, so that nothing is interpolated."""
    if not transform.IsLinear():
        return False
    moved = _FLIP_XY @ transform_matrix(transform) @ _FLIP_XY
    index = np.linalg.inv(source) @ moved @ target
    return bool(np.allclose(index, np.rint(index), atol=1e-3))


def _width(
    fwhm: float | None,
    moving: MetaTensor,
    volumes: tuple[Tensor, Tensor, Tensor],
    spacing: Sequence[float],
    scales: tuple[float, float],
    added: Sequence[float],
) -> tuple[float, str]:
    """Return the width of the point spread in mm, and where it comes from."""
    if fwhm is not None:
        return fwhm, "given"
    stated = reports_of(moving).get("reading", {}).get("resolution_mm")
    if stated and 0 < float(stated) <= _WIDEST_MM:
        return float(stated), "header"
    image, guide, measured = volumes
    total = estimate_fwhm(
        image, guide, spacing=spacing, scale=scales[0], guide_scale=scales[1], measured=measured
    )
    own = (total or 0.0) ** 2 - FWHM_PER_DEVIATION**2 * float(np.mean(np.square(added)))
    if own <= 1:
        raise _CannotTellError(
            "the width of the point spread is not in the header and cannot be estimated; give "
            "--recover-moving the width in mm"
        )
    return math.sqrt(own), "estimated from the volumes"


def _report(
    width: float,
    source: str,
    added: Sequence[float],
    options: RecoveryOptions,
    moving: MetaTensor,
) -> dict[str, Any]:
    notes = []
    voxel = FWHM_PER_DEVIATION * max(added)
    if width < voxel:
        notes.append(
            f"a point spread of {width:.2g} mm is narrower than the blur between the voxels, "
            f"{voxel:.2g} mm, so there is little to recover"
        )
    return {
        "estimate": True,
        "fwhm_mm": round(width, 2),
        "fwhm_source": source,
        "interpolation_fwhm_mm": [round(FWHM_PER_DEVIATION * a, 2) for a in added],
        **asdict(options),
        "units": str(moving.meta.get("units", "")),
        "notes": notes,
    }


RecoverMovingD = RecoverMovingDict = RecoverMovingd
