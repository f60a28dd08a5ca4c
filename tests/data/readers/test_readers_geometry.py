"""DICOM slices in space and time: gaps, tilt, frames, multi-frame images."""

from __future__ import annotations

from pathlib import Path

import dicom_makers as make
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from volume_checks import agrees_with_itk, corners, noise, notes, refusal

from monai_ddfm.transforms.loading import LoadVolume

# --------------------------------------------------------------------- gaps, tilt, duplicates


def test_a_series_that_lacks_a_slice_is_refused(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise(8, 8, 10), SliceThickness=2.5)
    (folder / f"{(4 * 7919) % 10007:05d}.dcm").unlink()
    assert "lacks about 1 slice" in refusal(folder)


def test_slices_at_the_same_place(tmp_path: Path) -> None:
    folder = make.series(tmp_path / "a", noise(), depths=[0, 2, 4, 4, 6, 8])
    assert "2 different slices" in refusal(folder)


def linear(points: np.ndarray) -> np.ndarray:
    """A function of place (LPS, mm) that linear interpolation reproduces exactly."""
    return 500 + 3.0 * points[..., 0] - 2.0 * points[..., 1] + 4.0 * points[..., 2]


def sampled(
    positions: np.ndarray, rows: int, columns: int, column: np.ndarray | None = None
) -> np.ndarray:
    """Slices of `linear` with 1.5 x 1.25 mm pixels, rows along x."""
    y, x = np.mgrid[:rows, :columns]
    down = np.array([0.0, 1, 0]) if column is None else column
    grid = x[..., None] * np.array([1.25, 0, 0]) + y[..., None] * 1.5 * down
    return linear(grid[None] + positions[:, None, None])


def stored(values: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    return np.round(values * 10).astype(np.int16), {"RescaleSlope": 0.1, "RescaleIntercept": 0.0}


def values_at_voxels(volume: MetaTensor) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape[1:]), indexing="ij"), axis=-1)
    affine = volume.affine.numpy()
    return linear((index @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1])


@pytest.mark.parametrize("degrees", [5.0, -18.0])
def test_gantry_tilt_is_corrected(tmp_path: Path, degrees: float) -> None:
    """Slices tilted about the x axis while the table moves 5 mm along z."""
    tilt = np.deg2rad(degrees)
    column = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    step = np.array([0.0, 0.0, 5.0])
    origin = np.array([-10.0, -12.0, 30.0])
    values = sampled(origin + np.arange(9)[:, None] * step, 40, 20, column)
    pixels, scale = stored(values)
    folder = make.series(
        tmp_path,
        pixels,
        modality="CT",
        orientation=(1, 0, 0, *column),
        origin=origin,
        step=step,
        SliceThickness=5,
        **scale,
    )
    volume = LoadVolume()(folder)
    assert f"{abs(degrees):.1f} degrees" in notes(volume)
    axes = volume.affine[:3, :3].numpy()
    depth = 5 * np.cos(tilt)
    np.testing.assert_allclose(axes.T @ axes, np.diag([1.25**2, 1.5**2, depth**2]), atol=1e-6)
    inside = volume[0].numpy() != volume.min().item()
    assert inside.sum() > 0.9 * values.size
    expected = values_at_voxels(volume)
    # At the rim a voxel lies partly outside its slice; everywhere else the function is exact.
    wrong = np.abs(volume[0].numpy() - expected)[inside] > 0.06
    assert wrong.mean() < 0.06
    shorn = np.abs(volume[0].numpy()[1:-1, 12:-12] - expected[1:-1, 12:-12])
    assert shorn.max() < 0.06


def test_uneven_slices_are_resampled(tmp_path: Path) -> None:
    depths = np.array([0.0, 5, 10, 15, 20, 30, 40, 50])
    thickness = [5.0, 5, 5, 5, 10, 10, 10, 10]
    origin = np.array([-10.0, -12.0, 30.0])
    values = sampled(origin + depths[:, None] * np.array([0, 0, 1.0]), 12, 11)
    pixels, scale = stored(values)

    def change(dataset: object, k: int) -> None:
        dataset.SliceThickness = thickness[k]

    folder = make.series(
        tmp_path, pixels, modality="CT", origin=origin, depths=depths, change=change, **scale
    )
    volume = LoadVolume()(folder)
    assert volume.shape == (1, 11, 12, 11)
    assert "5.00 to 10.00 mm apart" in notes(volume)
    np.testing.assert_allclose(volume[0].numpy(), values_at_voxels(volume), atol=0.06)


def test_rounded_positions_are_still_regular(tmp_path: Path) -> None:
    depths = np.round(np.arange(12) * 1.2345678, 2)
    volume = LoadVolume()(make.series(tmp_path, noise(12, 8, 10), depths=depths))
    assert notes(volume) == ""
    assert volume.shape[-1] == 12


def test_slices_beside_each_other(tmp_path: Path) -> None:
    assert "above each other" in refusal(make.series(tmp_path, noise(), step=(9.0, 0, 1.0)))


# ---------------------------------------------------------------------- time, multi-frame, NM


def dynamic(folder: Path, frames: np.ndarray, durations: list[float]) -> Path:
    for t, slices in enumerate(frames):
        make.series(
            folder / str(t),
            slices,
            modality="PT",
            FrameReferenceTime=1000.0 * (len(frames) - t),
            ActualFrameDuration=int(1000 * durations[t]),
        )
    return folder


def test_frames_of_a_dynamic_pet_are_averaged_by_duration(tmp_path: Path) -> None:
    frames = noise(3, 4, 6, 7)
    folder = dynamic(tmp_path, frames, [10.0, 20.0, 70.0])
    volume = LoadVolume(modality="PET")(folder)
    mean = np.average(frames.astype(float), axis=0, weights=[0.1, 0.2, 0.7])
    np.testing.assert_allclose(volume[0].numpy(), mean.T, rtol=1e-5)
    # The frames are numbered by time, which runs against the order of the files here.
    first = LoadVolume(modality="PET", frames=[0])(folder)
    np.testing.assert_array_equal(first[0].numpy(), frames[2].T)
    assert "frames 0 to 2" in refusal(folder, modality="PET", frames=[3])


def test_mri_with_several_echoes_has_to_choose(tmp_path: Path) -> None:
    first, second = noise(), noise()
    for t, slices in enumerate((first, second)):
        make.series(tmp_path / str(t), slices, EchoNumbers=t + 1, AcquisitionTime=f"12000{t}")
    assert "4-D MR" in refusal(tmp_path, modality="MR")
    volume = LoadVolume(modality="MR", frames=[1])(tmp_path)
    np.testing.assert_array_equal(volume[0].numpy(), second.T)


def test_enhanced_multiframe_against_itk_and_highdicom(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    orientation = np.array(make.oblique())
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.array([5.0, -40, 13]) + np.arange(7)[:, None] * normal * 2.0
    path = make.enhanced(
        tmp_path / "enhanced mr.dcm", noise(7, 8, 10), positions, orientation=orientation
    )
    volume = LoadVolume(modality="MR")(path)
    agrees_with_itk(volume, path)
    other = highdicom.imread(path).get_volume(apply_voi_transform=False)
    flip = np.diag([-1, -1, 1, 1])
    np.testing.assert_allclose(
        np.sort(corners(torch.from_numpy(flip @ other.affine), other.array.shape), axis=0),
        np.sort(corners(volume.affine, volume.shape), axis=0),
        atol=0.01,
    )


def test_enhanced_frames_in_any_order_with_their_own_slopes(tmp_path: Path) -> None:
    pixels = noise(5, 6, 7)
    order = [3, 0, 4, 2, 1]
    positions = np.array([[0.0, 0, 2.0 * k] for k in order])
    slopes = [1.0, 2.0, 0.5, 4.0, 0.25]
    volume = LoadVolume()(make.enhanced(tmp_path / "a.dcm", pixels, positions, slopes=slopes))
    scaled = pixels * np.array(slopes)[:, None, None]
    np.testing.assert_allclose(volume[0].numpy(), scaled[np.argsort(order)].T, rtol=1e-6)


@pytest.mark.parametrize("spacing", [3.0, -3.0])
def test_a_spect_of_slices_up_or_down_has_one_place(tmp_path: Path, spacing: float) -> None:
    pixels = noise(6, 7, 8)
    path = make.nuclear(tmp_path / "spect.dcm", pixels, SpacingBetweenSlices=spacing)
    volume = LoadVolume(modality="SPECT")(path)
    assert volume.meta["units"] == "counts"
    depths = 70 + spacing * np.arange(6)
    np.testing.assert_allclose(
        volume.affine, [[-1.25, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 3, depths.min()], [0, 0, 0, 1]]
    )
    expected = pixels if spacing > 0 else pixels[::-1]
    np.testing.assert_array_equal(volume[0].numpy(), expected.T)


def test_gated_nuclear_medicine_is_averaged(tmp_path: Path) -> None:
    pixels = noise(8, 7, 8)
    path = make.nuclear(
        tmp_path / "gated.dcm",
        pixels,
        SliceVector=[1, 2, 3, 4, 1, 2, 3, 4],
        TimeSlotVector=[1, 1, 1, 1, 2, 2, 2, 2],
    )
    volume = LoadVolume()(path)
    np.testing.assert_allclose(volume[0].numpy(), (pixels[:4] / 2 + pixels[4:] / 2).T)


def test_nuclear_medicine_projections(tmp_path: Path) -> None:
    kind = ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]
    assert "not reconstructed" in refusal(make.nuclear(tmp_path / "a.dcm", noise(), ImageType=kind))
