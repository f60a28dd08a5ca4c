"""Scans of the demo's head, and its tissues on their grids by ITK."""

from __future__ import annotations

from functools import cache

import numpy as np
import SimpleITK as sitk
from cohort_makers import anatomy

from monai_ddfm.apps.demo import Anatomy
from monai_ddfm.apps.demo.modalities import Volume, make_moving, make_mri, rigid_truth

MODALITIES = ("PET", "CT", "SPECT")
LPS = np.diag([-1.0, -1.0, 1.0])


def as_itk(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T.astype(np.float32)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((LPS @ affine[:3, 3]).tolist())
    return image


def as_array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).T.astype(np.float64)


def on_scan(field: np.ndarray, head: Anatomy, scan: Volume, truth: sitk.Transform) -> np.ndarray:
    """Tissue map on the grid of a scan, by ITK: its points go through the truth to the head's."""
    reference = as_itk(scan.data, scan.affine)
    return as_array(sitk.Resample(as_itk(field, head.affine), reference, truth, sitk.sitkLinear))


@cache
def t1_of_head() -> Volume:
    return make_mri(anatomy(), 0, 2.0)


@cache
def scans_of_head() -> dict[str, tuple[Volume, sitk.Euler3DTransform]]:
    truths = {m: rigid_truth(0, m) for m in MODALITIES}
    return {m: (make_moving(anatomy(), m, 0, 1.0, t), t) for m, t in truths.items()}
