"""The transforms that the demo calls true align its scans, and are moderate."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from demo_scans import LPS, MODALITIES, as_array, as_itk
from scipy import ndimage

from monai_ddfm.apps.demo import Anatomy
from monai_ddfm.apps.demo.modalities import Volume, rigid_truth

pytest.importorskip("nilearn")


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    joint = np.histogram2d(a, b, bins=48)[0]
    joint /= joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / product[seen])).sum())


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_true_transform_aligns_better_than_others(
    modality: str, t1: Volume, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans[modality]
    fixed, moving = as_itk(t1.data, t1.affine), as_itk(scan.data, scan.affine)
    inside = t1.data > 150

    def score(transform: sitk.Transform) -> float:
        resampled = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(scan.data.min()))
        return mutual_information(t1.data[inside], as_array(resampled)[inside])

    inverse = sitk.Euler3DTransform(truth.GetInverse())
    shifted = sitk.Euler3DTransform(inverse)
    shifted.SetTranslation(np.add(inverse.GetTranslation(), (2.0, 0.0, 0.0)).tolist())
    best = score(inverse)
    assert best > score(shifted)
    assert best > 1.1 * score(sitk.Euler3DTransform())
    assert best > 1.1 * score(truth)


def test_truth_maps_points_of_the_scan_to_points_of_the_t1(
    head: Anatomy, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans["PET"]
    labels, count = ndimage.label(head.lesions["hot"] > 0.5)
    assert count == 2
    index = np.indices(scan.data.shape).reshape(3, -1)
    points = LPS @ (scan.affine[:3, :3] @ index + scan.affine[:3, 3:])
    for center in ndimage.center_of_mass(head.lesions["hot"], labels, [1, 2]):
        target = LPS @ (head.affine[:3, :3] @ center + head.affine[:3, 3])
        near = np.linalg.norm(points.T - truth.GetInverse().TransformPoint(target), axis=1) < 14
        values = np.where(near, scan.data.ravel(), 0)
        weight = np.maximum(values - 0.8 * values.max(), 0)
        found = truth.TransformPoint((points @ weight / weight.sum()).tolist())
        assert np.linalg.norm(np.array(found) - target) < 1.5


def test_transforms_are_moderate_and_differ() -> None:
    seen = set()
    for seed in range(40):
        for modality in MODALITIES:
            truth = rigid_truth(seed, modality)
            assert all(2 <= abs(np.rad2deg(a)) <= 6 for a in truth.GetParameters()[:3])
            assert all(3 <= abs(t) <= 9 for t in truth.GetTranslation())
            seen.add(truth.GetParameters())
    assert len(seen) == 120
