"""Small NIfTI files for the tests of loading, and where their corners lie."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

SHAPE = (6, 7, 5)
RNG = np.random.default_rng(7)


def oblique() -> np.ndarray:
    """Voxels of 1.5 x 2 x 3 mm, turned by 20 and 10 degrees."""
    a, b = np.deg2rad([20, 10])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([1.5, 2, 3])
    affine[:3, 3] = [-12.5, 7, 31]
    return affine


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **header) -> Path:
    image = nib.Nifti1Image(array, oblique() if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def save_placed(path: Path, qform: tuple, sform: tuple) -> Path:
    """Save a volume with these (affine, code) pairs."""
    image = nib.Nifti1Image(values(), None)
    image.set_qform(*qform)
    image.set_sform(*sform)
    nib.save(image, path)
    return path


def values() -> np.ndarray:
    return RNG.normal(100, 20, SHAPE).astype(np.float32)


def itk_corners(path: Path) -> np.ndarray:
    image = sitk.ReadImage(str(path))
    size = np.array(image.GetSize()[:3]) - 1
    points = [
        image.TransformIndexToPhysicalPoint([int(n) for n in np.array(c) * size])
        for c in np.ndindex(2, 2, 2)
    ]
    return np.array(points) * [-1, -1, 1]
