"""What every volume has to fulfil before anything is computed from it.

All checks raise `InputError` with one sentence that names the file and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_ddfm.errors import InputError

__all__ = [
    "check_affine",
    "check_hounsfield",
    "check_same_patient",
    "check_shape",
    "check_values",
    "remark_on_extent",
]

MAX_VOXELS = 2**30
"""4 GiB in float32; beyond that a header is far more likely damaged than right."""
MAX_SHEAR = 1e-3
"""Largest cosine between two voxel axes: 0.06 degrees, what rounding leaves in real headers."""
SPACING_RANGE = (1e-3, 100.0)
HEAD_MM = (50.0, 1000.0)
"""No head is smaller or larger; what is has lost its units, or shows something else."""
_SPANS = (1e-30, 1e30)
"""What values may reach over: their squares and inverses are still numbers after some scaling."""
HOUNSFIELD_RANGE = (-10_000.0, 40_000.0)
"""Padding of -3024 and metal of 30,710 (extended scale) are inside, nothing sensible outside."""


def check_shape(shape: Sequence[int], path: Path) -> None:
    """Refuse what is not a volume.

    Args:
        shape: sizes along the spatial axes.
        path: file or folder, for messages.

    Raises:
        InputError: not three axes, an empty axis, a single slice, or an absurd size.
    """
    sizes = " x ".join(str(int(n)) for n in shape)
    if any(n < 1 for n in shape) or not len(shape):
        raise InputError(f"{path} is empty (size {sizes or 0}); give a volume with voxels in it.")
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(
            f"{path} is not a volume (size {sizes}); give one with at least two voxels per axis."
        )
    if len(shape) > 3:
        raise InputError(f"{path} has {len(shape)} axes (size {sizes}); give a 3-D volume.")
    if math.prod(int(n) for n in shape) > MAX_VOXELS:
        raise InputError(
            f"{path} claims {sizes} voxels, more than can be worked on; check its header or "
            "resample it to a coarser grid."
        )


def check_same_patient(
    fixed: tuple[Any, str], moving: tuple[Any, str], *, allow_mismatch: bool = False
) -> bool | None:
    """Refuse to fuse volumes of two patients.

    Args:
        fixed: file and patient ID of one volume, ``""`` where unknown.
        moving: of the other.
        allow_mismatch: go on although the IDs differ.

    Returns:
        Whether they are the same; None where one of the IDs is unknown.

    Raises:
        InputError: the patient IDs differ and that is not allowed.
    """
    ids = [patient.strip() for _, patient in (fixed, moving)]
    same = ids[0] == ids[1] if all(ids) else None
    if same is False and not allow_mismatch:
        raise InputError(
            f"{fixed[0]} and {moving[0]} belong to different patients (their patient IDs "
            "differ); choose the right pair or allow the mismatch (--allow-patient-mismatch)."
        )
    return same


def check_affine(affine: npt.NDArray[np.float64], path: Path) -> None:
    """Refuse a placement in space that cannot be right.

    Args:
        affine: [4, 4] voxel index to millimetres.
        path: file or folder, for messages.

    Raises:
        InputError: not finite, a zero or absurd voxel size, singular, or sheared.
    """
    mend = "correct the header or export the volume again"
    if not np.isfinite(affine).all():
        raise InputError(f"the affine of {path} holds values that are not finite; {mend}.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shown = " x ".join(f"{s:.4g}" for s in spacing)
    if spacing.min() < SPACING_RANGE[0] or spacing.max() > SPACING_RANGE[1]:
        raise InputError(f"the voxels of {path} measure {shown} mm, which cannot be; {mend}.")
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < 1e-3:
        raise InputError(f"the affine of {path} is singular (two axes coincide); {mend}.")
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine > MAX_SHEAR:
        angle = math.degrees(math.asin(min(cosine, 1.0)))
        raise InputError(
            f"the affine of {path} is sheared by {angle:.2f} degrees; resample the volume onto a "
            "rectangular grid first."
        )


def remark_on_extent(affine: npt.NDArray[np.float64], shape: Sequence[int]) -> str:
    """Look at how large the volume is.

    Args:
        affine: [4, 4] voxel index to millimetres.
        shape: sizes along the spatial axes.

    Returns:
        A remark for the report, ``""`` where a head would fit.
    """
    extent = np.linalg.norm(affine[:3, :3], axis=0) * np.asarray(shape[:3])
    longest = float(extent.max())
    if HEAD_MM[0] <= longest <= HEAD_MM[1]:
        return ""
    size = " x ".join(f"{mm:.3g}" for mm in extent)
    return f"the volume measures {size} mm, which is no head: check the units of its header"


def check_values(array: npt.NDArray[np.float32], path: Path) -> None:
    """Refuse voxels from which nothing can be computed.

    Args:
        array: [C, H, W, D].
        path: file or folder, for messages.

    Raises:
        InputError: NaN or infinite voxels, all voxels zero, all voxels equal, or values that are
            so small or large that single precision does not do.
    """
    nan = int(np.isnan(array).sum())
    infinite = int(np.isinf(array).sum())
    if nan or infinite:
        kinds = [f"{n} {kind}" for n, kind in ((nan, "NaN"), (infinite, "infinite")) if n]
        raise InputError(
            f"{path} holds {' and '.join(kinds)} of {array.size} voxels; replace them first, for "
            "example with the value of the background (numpy.nan_to_num)."
        )
    low, high = float(array.min()), float(array.max())
    if low == high:
        what = "zero" if low == 0 else f"{low:.6g}"
        raise InputError(f"every voxel of {path} is {what}; choose a volume that shows something.")
    if not _SPANS[0] < high - low < _SPANS[1]:
        raise InputError(
            f"the values of {path} reach from {low:.3g} to {high:.3g}, beyond what single "
            "precision can compute with; multiply them by a constant first."
        )


def check_hounsfield(array: npt.NDArray[Any], path: Path) -> str:
    """Look at CT values: refuse the impossible, remark on the unusual.

    Args:
        array: CT values.
        path: file or folder, for messages.

    Returns:
        A remark for the report, ``""`` where nothing is unusual.

    Raises:
        InputError: values that no Hounsfield scale reaches.
    """
    low, high = float(array.min()), float(array.max())
    if low < HOUNSFIELD_RANGE[0] or high > HOUNSFIELD_RANGE[1]:
        raise InputError(
            f"{path} holds CT values from {low:.6g} to {high:.6g}, which are no Hounsfield units; "
            "check its rescale slope and intercept or its modality."
        )
    if low >= 0:
        return (
            f"the lowest CT value is {low:.6g}, so there is no air: these may be stored values "
            "without the offset of -1024, not Hounsfield units"
        )
    return ""
