"""Spatial transforms as ITK's text files, which 3D Slicer, ANTs and SimpleITK read.

MONAI and nibabel count millimeters to the right, front and top (RAS), ITK to the left, back and
top (LPS). With F = diag(-1, -1, 1, 1), a matrix M between RAS points is F M F between LPS points.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from monai_ddfm.writers.files import atomic_path
from monai_ddfm.writers.nifti import as_array

__all__ = ["write_transform"]

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_transform(path: str | Path, transform: Any) -> None:
    """Write a transform, whole or not at all.

    Args:
        path: file name that ends in ``.tfm``.
        transform: maps points of `fixed` to points of `moving`, as ITK's resampling wants it: a
            SimpleITK transform (LPS), the path or the text of an ITK transform file, or a [4, 4]
            matrix between RAS points.

    Raises:
        InputError: the file cannot be written.
        ValueError: the matrix is not [4, 4].
    """
    with atomic_path(path) as temporary:
        if isinstance(transform, str) and transform.startswith("#Insight Transform File"):
            temporary.write_text(transform, encoding="ascii")
        elif isinstance(transform, str | Path):
            shutil.copyfile(transform, temporary)
        else:
            if not isinstance(transform, sitk.Transform):
                transform = _affine_transform(as_array(transform))
            _write_checked(transform, temporary)


def _affine_transform(ras: Any) -> sitk.AffineTransform:
    matrix = ras.astype(np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"expected a [4, 4] matrix, got {matrix.shape}")
    lps = _FLIP @ matrix @ _FLIP
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def _write_checked(transform: sitk.Transform, path: Path) -> None:
    # ITK says nothing when the disk is full: only reading back shows that all of it is there.
    sitk.WriteTransform(transform, str(path))
    try:
        read = sitk.ReadTransform(str(path))
        complete = np.allclose(read.GetParameters(), transform.GetParameters(), atol=1e-9)
    except RuntimeError:
        complete = False
    if not complete:
        raise OSError(f"{path.name} could not be written completely")
