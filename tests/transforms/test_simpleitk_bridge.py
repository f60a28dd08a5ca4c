"""MetaTensor <-> SimpleITK: every voxel keeps its place and its value."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.simpleitk_bridge import (
    field_of_view_overlap,
    grid_image,
    outside_value,
    resample,
    scalar_image,
    to_simpleitk,
)

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


def volume_of(
    affine: np.ndarray, shape=(5, 6, 7), channels: int = 1, seed: int = 0, **meta: object
) -> MetaTensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(channels, *shape, generator=generator) * 100
    return MetaTensor(values, affine=torch.from_numpy(np.asarray(affine, dtype=float)), meta=meta)


def oblique(tilt=(0.3, -0.2, 0.5), spacing=(1.0, 2.0, 3.0), origin=(7.0, -8.0, 9.0), flip=1.0):
    affine = np.eye(4)
    turn = Rotation.from_rotvec(tilt).as_matrix() @ np.diag([flip, 1.0, 1.0])
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


@settings(max_examples=60)
@given(
    tilt=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 20)] * 3),
    origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
    flip=st.sampled_from([1.0, -1.0]),
)
def test_every_voxel_keeps_its_place_and_value(tilt, spacing, origin, flip):
    affine = oblique(tilt, spacing, origin, flip)
    volume = volume_of(affine)
    image = to_simpleitk(volume)[0]
    for index in [(0, 0, 0), (4, 5, 6), (1, 3, 2)]:
        expected = (LPS @ affine @ [*index, 1.0])[:3]
        assert np.allclose(image.TransformIndexToPhysicalPoint(index), expected, atol=1e-9)
        assert image[index] == volume[0, *index].item()


def test_an_affine_that_is_in_lps_already_is_not_flipped():
    volume = volume_of(oblique(), space="LPS")
    image = to_simpleitk(volume)[0]
    assert np.allclose(image.TransformIndexToPhysicalPoint((0, 0, 0)), oblique()[:3, 3])
    ras = volume_of(LPS @ oblique())
    out = resample(ras, volume, IDENTITY)
    assert torch.allclose(out.as_tensor(), ras.as_tensor(), atol=1e-4)
    assert out.meta["space"] == "LPS"


def test_channels_become_images_and_color_becomes_luminance():
    volume = volume_of(np.eye(4), channels=3)
    assert [image[1, 2, 3] for image in to_simpleitk(volume)] == volume[:, 1, 2, 3].tolist()
    luma = 0.299 * volume[0] + 0.587 * volume[1] + 0.114 * volume[2]
    assert scalar_image(volume)[1, 2, 3] == pytest.approx(luma[1, 2, 3].item(), rel=1e-5)
    with pytest.raises(InputError, match="2 channels"):
        scalar_image(volume_of(np.eye(4), channels=2))


def sheared() -> np.ndarray:
    affine = np.eye(4)
    affine[1, 2] = 0.2
    return affine


@pytest.mark.parametrize(
    ("affine", "reason"),
    [
        (sheared(), "sheared"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "not finite"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
    ],
)
def test_affines_that_cannot_be_used_are_refused_by_file_name(affine, reason):
    with pytest.raises(InputError, match=rf"scan\.nii.*{reason}|{reason}.*scan\.nii"):
        grid_image(volume_of(affine, filename_or_obj="scan.nii"))


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 5), (3, 4, 5, 2)])
def test_what_is_no_volume_is_refused(shape):
    volume = MetaTensor(torch.zeros(1, *shape), affine=torch.eye(4))
    with pytest.raises(InputError, match="3-D"):
        to_simpleitk(volume)


def test_resampling_onto_its_own_grid_changes_nothing():
    volume = volume_of(oblique(), channels=3, modality="PET")
    out = resample(volume, volume, IDENTITY)
    assert torch.allclose(out.as_tensor(), volume.as_tensor(), atol=1e-4)
    assert torch.equal(out.affine, volume.affine)
    assert out.meta["modality"] == "PET"


@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("nearest", 0)])
def test_resampling_equals_an_independent_interpolation(interpolation, order):
    moving = volume_of(oblique(), shape=(14, 12, 10))
    fixed = volume_of(oblique((0.1, 0.1, -0.4), (1.3, 0.9, 2.0), (9.0, 0.0, 14.0)), (9, 8, 7))
    transform = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.05, 0.2, (1.0, -2.0, 0.5))
    out = resample(moving, fixed, transform, interpolation=interpolation, outside=-5.0)[0].numpy()

    index = np.indices(fixed.shape[1:]).reshape(3, -1)
    places = (LPS @ fixed.affine.numpy() @ np.vstack([index, np.ones(index.shape[1])]))[:3].T
    mapped = np.array([transform.TransformPoint(place) for place in places.tolist()])
    homogeneous = np.vstack([mapped.T, np.ones(len(mapped))])
    voxels = np.linalg.solve(LPS @ moving.affine.numpy(), homogeneous)[:3]
    last = np.array(moving.shape[1:])[:, None] - 1
    inside = ((voxels >= 0) & (voxels <= last)).all(axis=0)
    away = ((voxels < -0.51) | (voxels > last + 0.51)).any(axis=0)
    half = np.abs(voxels - np.floor(voxels) - 0.5).min(axis=0) < 1e-6  # ties of nearest
    assert inside.sum() > 50
    assert away.sum() > 50
    expected = ndimage.map_coordinates(moving[0].numpy().astype(float), voxels, order=order)
    got = out.reshape(-1)
    assert np.allclose(got[inside & ~half], expected[inside & ~half], atol=1e-3)
    assert (got[away] == -5.0).all()


def test_cubic_interpolation_stays_within_the_values_of_the_source():
    values = torch.zeros(1, 9, 9, 9)
    values[:, 4:] = 100.0
    moving = MetaTensor(values, affine=torch.eye(4))
    shift = sitk.TranslationTransform(3, (0.4, 0.0, 0.0))
    out = resample(moving, moving, shift, interpolation="bspline")
    assert out.min() == 0
    assert out.max() == 100
    linear = resample(moving, moving, shift)
    assert not torch.allclose(out.as_tensor(), linear.as_tensor(), atol=1.0)


@pytest.mark.parametrize(
    ("values", "modality", "expected"),
    [
        ([-1000.0, 2000.0], "CT", -1000.0),
        ([-3024.0, 2000.0], "", -1000.0),
        ([0.0, 3000.0], "CT", 0.0),
        ([0.0, 20000.0], "PET", 0.0),
        ([3.0, 9.0], "", 0.0),
        ([-2.5, 4.0], "", -2.5),
        ([-2.5, 4.0], "PET", 0.0),
    ],
)
def test_outside_is_air_or_nothing(values, modality, expected):
    volume = MetaTensor(
        torch.tensor(values).reshape(1, 2, 1, 1), affine=torch.eye(4), meta={"modality": modality}
    )
    assert outside_value(volume) == expected


def test_overlap_counts_the_voxels_in_common():
    a = grid_image(volume_of(np.eye(4), shape=(10, 10, 10)))
    b = grid_image(volume_of(np.eye(4), shape=(10, 10, 10)))
    for shift, expected in [(0.0, 1.0), (4.0, 0.6), (20.0, 0.0)]:
        move = sitk.TranslationTransform(3, (shift, 0.0, 0.0))
        assert field_of_view_overlap(a, b, move) == pytest.approx(expected)
