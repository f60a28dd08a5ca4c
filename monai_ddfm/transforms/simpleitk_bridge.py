r"""MetaTensor volumes to SimpleITK images and back, without losing anything on the way.

A MetaTensor holds voxels [C, H, W, D] and an affine :math:`A` from voxel indices to RAS millimeters
(NIfTI, MONAI). ITK holds voxels [z, y, x] and splits the same map into origin, spacing and
direction in LPS millimeters:

.. math::

    \mathrm{diag}(-1, -1, 1, 1)\, A =
    \begin{bmatrix} R\,\mathrm{diag}(s) & o \\ 0 & 1 \end{bmatrix}, \qquad
    s_j = \lVert A_{:3, j} \rVert .

The columns of :math:`R` are taken as they are, not made orthogonal, so that every voxel keeps its
place to rounding error for any oblique or mirrored affine. Affines with shear are refused: some of
the steps (file formats, gradients) take :math:`R` for a rotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS
from monai_ddfm.transforms.grid_geometry import affine_of

__all__ = [
    "Interpolation",
    "field_of_view_overlap",
    "grid_image",
    "outside_value",
    "resample",
    "scalar_image",
    "to_simpleitk",
    "volume_name",
]

Interpolation = Literal["linear", "bspline", "nearest"]

_FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR_TOLERANCE = 1e-2  # cosine between two axes: half a degree, the rounding of stored affines
_LUMA = (0.299, 0.587, 0.114)  # BT.601
_AIR_HU = -1000.0
_INTERPOLATORS = {
    "linear": sitk.sitkLinear,
    "bspline": sitk.sitkBSpline,
    "nearest": sitk.sitkNearestNeighbor,
}


def volume_name(volume: MetaTensor, fallback: str = "volume") -> str:
    """Return the name by which an error message can call `volume`: its file, else `fallback`."""
    source = volume.meta.get("filename_or_obj") if isinstance(volume, MetaTensor) else None
    if isinstance(source, (list, tuple)) and source:
        source = source[0]
    return str(source) if source else fallback


def to_simpleitk(volume: MetaTensor, *, name: str = "volume") -> list[Any]:
    """Convert a volume to SimpleITK images, one per channel.

    Args:
        volume: [C, H, W, D] in any units, affine in mm.
        name: how to call the volume in an error message if it has no file name.

    Returns:
        C images of float32; index (i, j, k) of an image is voxel [c, i, j, k] of `volume`.

    Raises:
        InputError: the volume is not 3-D, or its affine is singular, sheared or not finite.
    """
    return list(_channels(volume, name=name))


def scalar_image(volume: MetaTensor, *, name: str = "volume") -> Any:
    """Convert a volume to one scalar image: itself, or the BT.601 luminance of an RGB volume.

    Args:
        volume: [1, H, W, D] or [3, H, W, D].
        name: how to call the volume in an error message if it has no file name.

    Returns:
        One image of float32.

    Raises:
        InputError: as in `to_simpleitk`, or a number of channels other than 1 and 3.
    """
    if volume.shape[0] not in (1, 3):
        raise InputError(
            f"{volume_name(volume, name)} has {volume.shape[0]} channels where 1 (scalar) or 3 "
            "(RGB) are understood: choose one channel or frame first"
        )
    images = to_simpleitk(volume, name=name)
    if len(images) == 1:
        return images[0]
    return sum((float(w) * image for w, image in zip(_LUMA, images, strict=True)), start=0.0)


def grid_image(volume: MetaTensor, *, name: str = "volume") -> Any:
    """Return an image of no content with the size, origin, spacing and direction of `volume`.

    Args:
        volume: [C, H, W, D] with an affine in mm.
        name: how to call the volume in an error message if it has no file name.

    Returns:
        An image of uint8 zeros, for use as the reference of a resampling.

    Raises:
        InputError: the volume is not 3-D, or its affine is singular, sheared or not finite.
    """
    label = volume_name(volume, name)
    if volume.ndim != 4 or 0 in volume.shape:
        raise InputError(
            f"{label} has the shape {tuple(volume.shape)} where channels and three spatial axes "
            "are expected: give a 3-D volume"
        )
    affine = _lps_affine(volume)
    matrix = affine[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(affine).all() or (spacing < 1e-6).any():
        raise InputError(
            f"the affine of {label} is singular or not finite: mend the header "
            "(sform or qform, image position and orientation) first"
        )
    direction = matrix / spacing
    if abs(np.linalg.det(direction)) < 1e-3:
        raise InputError(
            f"the affine of {label} is singular (two axes coincide): mend the header "
            "(sform or qform, image position and orientation) first"
        )
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SHEAR_TOLERANCE:
        raise InputError(
            f"the affine of {label} is sheared (its axes are not perpendicular, as with a tilted "
            "gantry): resample it to a rectangular grid first"
        )
    grid = sitk.Image([int(n) for n in volume.shape[1:]], sitk.sitkUInt8)
    grid.SetOrigin(affine[:3, 3].tolist())
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(direction.ravel().tolist())
    return grid


def outside_value(volume: MetaTensor) -> float:
    """Return what lies outside the field of view of `volume`, in its own units.

    By ``meta["modality"]``, see `monai_ddfm.modalities`: air for CT (-1000, or the minimum where
    the values do not reach that far), 0 for PET, SPECT and MRI. Where that is unknown: air if there
    are values near -1000, the minimum if there are other negative values, else 0.

    Args:
        volume: [C, H, W, D] in original units.

    Returns:
        One value for all channels.
    """
    modality = volume.meta.get("modality")
    smallest = float(volume.min())
    if modality:
        row = ROWS.get(str(modality))
        outside = row.outside if row else 0.0
        return max(outside, smallest) if outside < 0 else outside
    return max(_AIR_HU, smallest) if smallest <= 0.9 * _AIR_HU else min(smallest, 0.0)


def resample(
    moving: MetaTensor,
    fixed: MetaTensor,
    transform: Any,
    *,
    interpolation: Interpolation = "linear",
    outside: float | None = None,
) -> MetaTensor:
    """Bring `moving` onto the grid of `fixed` with one interpolation.

    Args:
        moving: [C, H, W, D], resampled channel by channel.
        fixed: the volume that gives the grid; its values are not looked at.
        transform: `SimpleITK.Transform` in ITK's resampling convention: it maps points of `fixed`
            to points of `moving`, in LPS mm.
        interpolation: "linear" (default), "bspline" (cubic, cut to the range of `moving`) or
            "nearest".
        outside: value beyond the field of view of `moving`; None: see `outside_value`.

    Returns:
        [C, *fixed.shape[1:]] float32 on the device of `moving`, in its units, with its metadata
        and the affine of `fixed`.

    Raises:
        InputError: one of the two affines cannot be used.
    """
    grid = grid_image(fixed, name="the fixed volume")
    fill = outside_value(moving) if outside is None else outside
    method = _INTERPOLATORS[interpolation]
    resampled = torch.empty((len(moving), *fixed.shape[1:]))
    for number, image in enumerate(_channels(moving, name="the moving volume")):
        out = sitk.Resample(image, grid, transform, method, fill, sitk.sitkFloat32)
        array = sitk.GetArrayViewFromImage(out).transpose(2, 1, 0)
        if interpolation == "bspline":
            low, high = float(moving.min()), float(moving.max())
            array = array.clip(min(low, fill), max(high, fill))
        resampled[number].numpy()[:] = array
    meta = dict(moving.meta)
    meta.pop("affine", None)
    if "space" in fixed.meta:
        meta["space"] = fixed.meta["space"]
    return MetaTensor(resampled.to(moving.device), affine=fixed.affine, meta=meta)


def field_of_view_overlap(fixed: Any, moving: Any, transform: Any) -> float:
    """Return the share of the voxels of `fixed` that fall inside the box of `moving`.

    Args:
        fixed: `SimpleITK.Image` of any content.
        moving: `SimpleITK.Image` of any content.
        transform: maps points of `fixed` to points of `moving`.

    Returns:
        Share in [0, 1]; 0 means that the two fields of view do not meet.
    """
    inside = sitk.Image(moving.GetSize(), sitk.sitkUInt8) + 1
    inside.CopyInformation(moving)
    covered = sitk.Resample(inside, fixed, transform, sitk.sitkNearestNeighbor, 0)
    return float(sitk.GetArrayViewFromImage(covered).mean(dtype=np.float64))


def _channels(volume: MetaTensor, *, name: str) -> Iterator[Any]:
    """Yield the channels of a volume as images, one at a time."""
    frame = grid_image(volume, name=name)
    for channel in volume.detach().as_tensor().cpu().to(torch.float32).numpy():
        image = sitk.GetImageFromArray(np.ascontiguousarray(channel.transpose(2, 1, 0)))
        image.CopyInformation(frame)
        yield image


def _lps_affine(volume: MetaTensor) -> NDArray[np.float64]:
    affine = affine_of(volume)
    space = volume.meta.get("space", "RAS")
    return affine if str(getattr(space, "value", space)) == "LPS" else _FLIP_XY @ affine
