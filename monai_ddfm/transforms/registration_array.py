"""Registration of a volume to another and resampling onto its grid: the array transforms.

`RegisterVolumes` does it all; `RegisterRigid`, `RegisterAffine`, `RegisterDeformable` and
`ApplyTransform` are names for one method each. The dictionary versions are in `registration`.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, cast, get_args

import SimpleITK as sitk
from monai.data import MetaTensor
from monai.transforms import Transform

from monai_ddfm.data.transform_files import (
    CONVENTION,
    attach_transform,
    read_transform,
    transform_matrix,
)
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS
from monai_ddfm.transforms.region import Region, check_region, decide_region
from monai_ddfm.transforms.registration_engine import Alignment, Model, StartFrom, align
from monai_ddfm.transforms.registration_quality import RegistrationQuality, assess
from monai_ddfm.transforms.registration_uncertainty import rigid_uncertainty
from monai_ddfm.transforms.similarity import WorkingImage, working_image, working_spacing
from monai_ddfm.transforms.simpleitk_bridge import (
    Interpolation,
    field_of_view_overlap,
    grid_image,
    outside_value,
    resample,
    scalar_image,
    volume_name,
)
from monai_ddfm.utils.reports import add_report

__all__ = [
    "ApplyTransform",
    "RegisterAffine",
    "RegisterDeformable",
    "RegisterRigid",
    "RegisterVolumes",
]

_LOG = logging.getLogger(__name__)
_FEWEST_VOXELS = 1000  # with fewer, a search finds what it likes


class RegisterVolumes(Transform):  # type: ignore[misc]
    """Register a volume to another and resample it onto that one's grid.

    Args:
        method: "rigid", "affine", "deformable", "none", or the path of an ITK transform file that
            maps points of fixed to points of moving (LPS mm).
        invert: use the inverse of the given file.
        start: where searches begin: "headers", "centers" (of the heads), or "auto": headers if the
            volumes share a frame of reference, otherwise both.
        interpolation: "linear", "bspline" or "nearest".
        outside: value beyond the field of view of moving; None: air for CT, the minimum of volumes
            with negative values, otherwise 0.
        control_spacing: mm between control points, "deformable" only.
        refuse: whether a result judged "refuse" is an error (default) or only reported and logged.
        region: "head", "body", or "auto": what `monai_ddfm.transforms.region` has left with the
            fixed volume, or else decides.
        uncertainty: measure how far a result that was searched for may be off, too, see
            `registration_uncertainty`, and report it.

    Raises:
        InputError: an option is not one of those above, or the transform file cannot be used.

    Examples:
        >>> register = RegisterVolumes("rigid")
        >>> registered = register(moving, fixed)  # doctest: +SKIP
    """

    def __init__(
        self,
        method: str = "rigid",
        *,
        invert: bool = False,
        start: StartFrom = "auto",
        interpolation: Interpolation = "linear",
        outside: float | None = None,
        control_spacing: float = 50.0,
        refuse: bool = True,
        region: str = "auto",
        uncertainty: bool = False,
    ) -> None:
        _check_word("start", start, get_args(StartFrom))
        if invert and str(method).lower() in (*get_args(Model), "none"):
            raise InputError(
                f"registration {method!r} is no transform file, so there is nothing to invert: "
                "leave --invert-transform out"
            )
        _check_word("interpolation", interpolation, get_args(Interpolation))
        if not control_spacing > 0:
            raise InputError("control_spacing is in mm and must be greater than 0")
        word = str(method).lower()
        self.method = word if word in (*get_args(Model), "none") else str(method)
        self.invert = invert
        self.start: StartFrom = start
        self.interpolation: Interpolation = interpolation
        self.outside = outside
        self.control_spacing = control_spacing
        self.refuse = refuse
        self.region = check_region(region)
        self.uncertainty = uncertainty
        self.given: Any = None
        if self.method == "none":
            self.given = sitk.AffineTransform(3)
        elif self.method not in get_args(Model):
            self.given = self._read()

    def __call__(self, moving: MetaTensor, fixed: MetaTensor) -> MetaTensor:
        """Register `moving` to `fixed`.

        Args:
            moving: [1, H, W, D], or [3, H, W, D] RGB, in any units.
            fixed: [1, H', W', D'], or [3, H', W', D'] RGB.

        Returns:
            `moving` on the grid of `fixed`, [C, H', W', D'] float32 in the units of `moving`, with
            the report ``"registration"`` and the transform (see `transform_files.transform_of`).

        Raises:
            InputError: an affine cannot be used, the fields of view do not meet, or the result is
                not to be trusted.
        """
        grids = grid_image(fixed, name="fixed"), grid_image(moving, name="moving")
        spacing = working_spacing(*grids)
        region = self._region(fixed, moving)
        images = (
            working_image(scalar_image(fixed, name="fixed"), spacing=spacing, region=region),
            working_image(scalar_image(moving, name="moving"), spacing=spacing, region=region),
        )
        names = (volume_name(moving, "the moving volume"), volume_name(fixed, "the fixed volume"))
        frames = [str(v.meta.get("frame_of_reference_uid") or "") for v in (fixed, moving)]
        same_frame = all(frames) and frames[0] == frames[1]
        apart = all(frames) and not same_frame
        for volume, name in ((moving, names[0]), (fixed, names[1])):
            self._check_size(volume, name)
        alignment = self._align(*images, names=names, same_frame=same_frame, apart=apart)
        transform = alignment.transform if alignment else self.given
        fixed_lay, moving_lay = (str(v.meta.get("patient_position") or "") for v in (fixed, moving))
        quality = assess(
            *images,
            transform,
            alignment=alignment,
            same_frame=same_frame,
            positions=(fixed_lay, moving_lay),
        )
        self._heed(quality, names)
        fill = outside_value(moving) if self.outside is None else self.outside
        out = resample(moving, fixed, transform, interpolation=self.interpolation, outside=fill)
        attach_transform(out, transform)
        report = self._report(transform, quality, fill)
        if self.uncertainty and alignment is not None:
            report["uncertainty"] = rigid_uncertainty(
                *images, alignment.rigid, resolution=_resolution(moving)
            ).described()
        add_report(out, "registration", report)
        return out

    def _region(self, fixed: MetaTensor, moving: MetaTensor) -> Region:
        known = str(fixed.meta.get("region") or "") if self.region == "auto" else ""
        return decide_region(fixed, [moving], choice=known or self.region).region

    def _align(
        self,
        fixed: WorkingImage,
        moving: WorkingImage,
        *,
        names: tuple[str, str],
        same_frame: bool,
        apart: bool,
    ) -> Alignment | None:
        """Search, unless the alignment is given; None then."""
        by_headers = self.given is None and not apart and self.start != "centers"
        if (by_headers or self.method == "none") and not _meet(fixed, moving):
            raise InputError(
                f"the fields of view of {names[0]} and {names[1]} do not overlap: mend the "
                "position in one of the headers, or register with --registration-start centers"
            )
        if self.given is not None:
            return None
        return align(
            fixed,
            moving,
            model=cast(Model, self.method),
            start=self.start,
            same_frame=same_frame,
            control_spacing=self.control_spacing,
        )

    def _check_size(self, volume: MetaTensor, name: str) -> None:
        count = math.prod(volume.shape[1:])
        if self.given is None and count < _FEWEST_VOXELS:
            raise InputError(
                f"{name} has only {count} voxels, too few to be registered: give a transform "
                "file, or set registration=none if the volumes are aligned already"
            )

    def _heed(self, quality: RegistrationQuality, names: tuple[str, str]) -> None:
        reasons = "; ".join(quality.reasons)
        if quality.status == "refuse" and self.refuse:
            raise InputError(
                f"{names[0]} could not be aligned with {names[1]} ({reasons}): check that both "
                f"show the same {quality.region}, give a transform file, or set registration=none "
                "if they are aligned already"
            )
        if quality.status != "ok":
            _LOG.warning("Registration of %s to %s: %s.", names[0], names[1], reasons)

    def _report(self, transform: Any, quality: RegistrationQuality, fill: float) -> dict[str, Any]:
        searched = self.given is None
        given = not searched and self.method != "none"
        linear = bool(transform.IsLinear())
        return {
            "method": "transform file" if given else self.method,
            **(
                {"file": str(Path(self.method).resolve()), "inverted": self.invert} if given else {}
            ),
            **quality.as_dict(),
            "convention": CONVENTION,
            "transform": transform_matrix(transform).tolist() if linear else None,
            "interpolation": self.interpolation,
            "outside": fill,
        }

    def _read(self) -> Any:
        path = Path(self.method)
        if not path.suffix and not path.exists():
            raise InputError(
                f"registration {self.method!r} is unknown: use rigid, affine, deformable, none or "
                "the path of an ITK transform file"
            )
        return read_transform(path, invert=self.invert)


class RegisterRigid(RegisterVolumes):
    """`RegisterVolumes` with six parameters: rotation and translation."""

    def __init__(self, **options: Any) -> None:
        super().__init__("rigid", **options)


class RegisterAffine(RegisterVolumes):
    """`RegisterVolumes` with twelve parameters, begun from the rigid result."""

    def __init__(self, **options: Any) -> None:
        super().__init__("affine", **options)


class RegisterDeformable(RegisterVolumes):
    """`RegisterVolumes` with a cubic B-spline on top of the affine result."""

    def __init__(self, **options: Any) -> None:
        super().__init__("deformable", **options)


class ApplyTransform(RegisterVolumes):
    """`RegisterVolumes` with a given transform.

    Args:
        transform: path of an ITK transform file that maps points of fixed to points of moving.
        options: as for `RegisterVolumes`; ``invert=True`` for a file in the other direction.
    """

    def __init__(self, transform: str, **options: Any) -> None:
        super().__init__(transform, **options)


def _meet(fixed: WorkingImage, moving: WorkingImage) -> bool:
    return field_of_view_overlap(fixed.fine, moving.fine, sitk.Transform()) > 0


def _resolution(moving: MetaTensor) -> float:
    row = ROWS.get(str(moving.meta.get("modality")))
    return row.resolution if row else 1.0


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise InputError(f"{name} {word!r} is unknown: use {', '.join(known)}")
