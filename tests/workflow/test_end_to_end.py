"""One subject with a known truth, from files to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_ddfm import FusionResult, fuse

HEAD_POINTS = 4000


def coarser(source: Path, target: Path, spacing: tuple[float, float, float]) -> Path:
    """Resample a volume to larger voxels, smoothed first so that nothing aliases."""
    image = sitk.Cast(sitk.ReadImage(str(source)), sitk.sitkFloat32)
    factor = [new / old for new, old in zip(spacing, image.GetSpacing(), strict=True)]
    sigma = [0.4 * s if f > 1 else 1e-3 for s, f in zip(spacing, factor, strict=True)]
    size = [round(n / f) for n, f in zip(image.GetSize(), factor, strict=True)]
    # The corner of the first voxel stays where it is.
    shift = [0.5 * (f - 1) for f in factor]
    origin = image.TransformContinuousIndexToPhysicalPoint(shift)
    smooth = sitk.SmoothingRecursiveGaussian(image, sigma)
    small = sitk.Resample(
        smooth, size, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection()
    )
    sitk.WriteImage(small, str(target))
    return target


def head_points(path: Path) -> NDArray[np.float64]:
    """Points [N, 3] in LPS mm, spread evenly over the head in an MRI."""
    image = sitk.ReadImage(str(path))
    mask = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.Cast(image, sitk.sitkFloat32), 0, 1))
    indices = np.argwhere(mask > 0)[:, ::-1]
    chosen = indices[:: max(1, len(indices) // HEAD_POINTS)]
    return np.array([image.TransformIndexToPhysicalPoint(i.tolist()) for i in chosen])


def target_registration_error(
    result: FusionResult, truth: Path, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance in mm between points of the MRI and where they come back to, [N].

    The registration takes them to the other volume, the truth takes them from there to the MRI.
    """
    matrix = np.array(result.provenance["reports"]["registration"]["moving"]["transform"])
    back = sitk.ReadTransform(str(truth))
    moved = points @ matrix[:3, :3].T + matrix[:3, 3]
    returned = np.array([back.TransformPoint(point.tolist()) for point in moved])
    distance: NDArray[np.float64] = np.linalg.norm(returned - points, axis=1)
    return distance


def check(result: FusionResult, fixed: Path, moving: Path, truth: Path) -> None:
    """What has to hold of the subject, whatever its resolution."""
    points = head_points(fixed)
    assert len(points) > 1000
    error = target_registration_error(result, truth, points)
    start = np.linalg.norm(
        np.array([sitk.ReadTransform(str(truth)).TransformPoint(p.tolist()) for p in points])
        - points,
        axis=1,
    )
    assert start.mean() > 8  # there was something to recover
    assert error.mean() < 2.0
    assert error.max() < 4.0

    registration: dict[str, Any] = result.provenance["reports"]["registration"]["moving"]
    assert registration["status"] == "ok"
    np.testing.assert_allclose(
        np.array(
            sitk.AffineTransform(sitk.ReadTransform(str(result.files["transform.tfm"]))).GetMatrix()
        ),
        np.array(registration["transform"])[:3, :3].ravel(),
        atol=1e-9,
    )
    assert result.provenance["bound"]["voxels_outside"] == 0

    fixed_image = nib.load(fixed)
    volumes = {
        name: nib.load(result.files[f"{name}.nii.gz"])
        for name in ("fused", "weight", "moving_registered")
    }
    for volume in volumes.values():
        assert volume.shape == fixed_image.shape
        np.testing.assert_allclose(volume.affine, fixed_image.affine, atol=1e-4)
    # Both sources are seen in the fusion.
    mri = fixed_image.get_fdata()
    pet, fused = (volumes[name].get_fdata() for name in ("moving_registered", "fused"))
    inside = mri > np.percentile(mri, 60)
    for source in (mri, pet):
        assert np.corrcoef(source[inside], fused[inside])[0, 1] > 0.3
    # The units are kept: resampled by the truth, the PET has the same values, but for the seam.
    reference = sitk.Resample(
        sitk.ReadImage(str(moving), sitk.sitkFloat32),
        sitk.ReadImage(str(fixed)),
        sitk.ReadTransform(str(truth)).GetInverse(),
        sitk.sitkLinear,
        0.0,
    )
    expected = sitk.GetArrayFromImage(reference).transpose(2, 1, 0)
    assert np.corrcoef(expected.ravel(), pet.ravel())[0, 1] > 0.97
    assert pet[inside].mean() == pytest.approx(expected[inside].mean(), rel=0.05)


@pytest.fixture(scope="module")
def subject(shared: Path) -> Path:
    folder = shared / "data" / "mr_pet_subject"
    if not folder.is_dir():
        pytest.skip("the subject is not beside this checkout")
    return folder


def test_a_real_grid_at_low_resolution(subject: Path, tmp_path: Path) -> None:
    fixed = coarser(subject / "t1.nii.gz", tmp_path / "t1.nii.gz", (5.0, 5.0, 5.0))
    moving = coarser(subject / "pet_moved.nii.gz", tmp_path / "pet.nii.gz", (6.0, 6.0, 6.0))
    result = fuse(
        fixed,
        moving,
        modality="PET",
        output_dir=tmp_path / "out",
        steps=2,
        device="cpu",
        noise_margin=0,
    )
    check(result, fixed, moving, subject / "pet_to_t1_truth.tfm")


@pytest.mark.slow
def test_at_full_resolution(subject: Path, tmp_path: Path) -> None:
    fixed, moving = subject / "t1.nii.gz", subject / "pet_moved.nii.gz"
    result = fuse(fixed, moving, modality="PET", output_dir=tmp_path, device="cpu", noise_margin=0)
    check(result, fixed, moving, subject / "pet_to_t1_truth.tfm")
    assert result.provenance["memory"]["peak_rss_bytes"] < 4e9


@pytest.mark.slow
def test_as_dicom_series(subject: Path, tmp_path: Path) -> None:
    result = fuse(
        subject / "dicom_mr",
        subject / "dicom_pet",
        modality="PET",
        output_dir=tmp_path,
        steps=4,
        device="cpu",
        noise_margin=0,
    )
    assert result.provenance["bound"]["voxels_outside"] == 0
    registration = result.provenance["reports"]["registration"]["moving"]
    assert registration["status"] in {"ok", "warn"}
    # Both series were written on one grid, aligned.
    assert registration["displacement_mm"] < 6.0
