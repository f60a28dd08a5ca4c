"""Canonical axes, cubes and the exact way back."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, Flipd, Invertd, SpatialCropd
from scipy.spatial.transform import Rotation

from monai_ddfm.errors import InputError
from monai_ddfm.transforms import grid_geometry
from monai_ddfm.transforms.grid import (
    ChooseGridd,
    RestoreGridd,
    ToCanonicald,
    canonical_codes,
    slice_axis_of,
)
from monai_ddfm.utils.slabs import slabs

SIGNED_PERMUTATIONS = [
    np.eye(3)[list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


def affine_of(turn: np.ndarray, spacing, origin=(0.0, 0.0, 0.0)) -> torch.Tensor:
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = origin
    return torch.from_numpy(affine)


def random_volume(affine: torch.Tensor, shape=(5, 6, 4), channels: int = 1) -> MetaTensor:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(channels, *shape, generator=generator)
    return MetaTensor(values, affine=affine, meta={"sform_code": 2, "filename_or_obj": "t1.nii"})


def codes_of(volume: MetaTensor) -> str:
    return "".join(nib.aff2axcodes(volume.affine.numpy()))


@settings(max_examples=120)
@given(
    axes=st.sampled_from(SIGNED_PERMUTATIONS),
    tilt=st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 9.0)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    slice_along=st.sampled_from(["auto", "axial", "coronal", "sagittal"]),
)
def test_canonical_axes_and_back_are_exact_to_the_bit(axes, tilt, spacing, origin, slice_along):
    turn = Rotation.from_rotvec(tilt).as_matrix() @ axes
    volume = random_volume(affine_of(turn, spacing, origin))
    case = ToCanonicald("fixed", slice_along=slice_along)({"fixed": volume})
    assert codes_of(case["fixed"]) == canonical_codes(volume.affine, slice_along=slice_along)
    corner = case["fixed"].affine @ torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    index = torch.linalg.solve(volume.affine, corner)[:3].round().long()
    assert case["fixed"][0, 0, 0, 0] == volume[0, *index.tolist()]  # voxels keep their place

    case["weight"] = case["fixed"].as_tensor() * 2
    back = RestoreGridd(("weight", "fixed"))(case)
    assert torch.equal(back["fixed"].as_tensor(), volume.as_tensor())
    assert torch.equal(back["weight"].as_tensor(), volume.as_tensor() * 2)
    for restored in (back["fixed"], back["weight"]):
        assert torch.equal(restored.affine, volume.affine)
        assert restored.meta["sform_code"] == 2
        assert restored.is_contiguous()


def test_the_way_back_survives_collating():
    volume = random_volume(affine_of(SIGNED_PERMUTATIONS[11], (1.0, 1.1, 3.0), (0.1, 0.2, 1 / 3)))
    case = ToCanonicald("fixed")({"fixed": volume})
    batch = list_data_collate([case, case])
    for item in decollate_batch(batch):
        item["pred"] = torch.cat([item["fixed"], item["fixed"] + 1])
        back = RestoreGridd("pred")(item)["pred"]
        assert torch.equal(back.as_tensor()[0], volume.as_tensor()[0])
        assert torch.equal(back.affine, volume.affine)


OBLIQUE = Rotation.from_euler("xyz", [12, -20, 7], degrees=True).as_matrix()


@pytest.mark.parametrize(
    "turn",
    [OBLIQUE @ SIGNED_PERMUTATIONS[13], np.diag([-1.0, -1.0, 1.0]), SIGNED_PERMUTATIONS[44]],
    ids=["oblique", "flipped", "swapped"],
)
def test_monai_inverts_canonical_axes_to_the_bit(turn: np.ndarray) -> None:
    volume = random_volume(affine_of(turn, (1.0, 1.1, 3.0), (4.0, -7.0, 1 / 3)), channels=2)
    prepare = Compose([ToCanonicald("fixed"), Flipd("fixed", spatial_axis=1)])
    loader = DataLoader(Dataset([{"fixed": volume}], prepare), batch_size=1, num_workers=1)
    case = decollate_batch(next(iter(loader)))[0]
    assert not torch.equal(case["fixed"].affine, volume.affine)
    case["fused"] = case["fixed"][:1].double() * 2  # other channels, another type
    invert = Invertd("fused", transform=prepare, orig_keys="fixed", nearest_interp=False)
    for restored, values in (
        (invert(case)["fused"], volume.as_tensor()[:1].double() * 2),
        (prepare.inverse(case)["fixed"], volume.as_tensor()),
    ):
        assert torch.equal(restored.as_tensor().to(values.dtype), values)
        assert torch.equal(restored.affine, volume.affine)
        assert restored.applied_operations == []
        assert "ddfm_original_grid" not in restored.meta
        assert restored.meta["sform_code"] == 2


def test_monai_inverts_cubes_at_the_right_places() -> None:
    affine = affine_of(OBLIQUE @ SIGNED_PERMUTATIONS[13], (1.0, 1.2, 3.0), (4.0, -7.0, 9.0))
    volume = MetaTensor(ramp(affine, (20, 18, 9)), affine=affine)
    prepare = Compose([ToCanonicald("fixed"), ChooseGridd("fixed", spacing=1.5)])
    case = prepare({"fixed": volume})
    by_record, by_note = prepare.inverse(case)["fixed"], RestoreGridd("fixed")(case)["fixed"]
    inside = (slice(None), *[slice(3, -3)] * 3)
    assert torch.equal(by_record.affine, affine)
    torch.testing.assert_close(by_record.as_tensor()[inside], volume.as_tensor()[inside])
    torch.testing.assert_close(by_record.as_tensor()[inside], by_note.as_tensor()[inside])


def test_inverting_what_has_left_the_grid_is_refused() -> None:
    volume = random_volume(affine_of(SIGNED_PERMUTATIONS[11], (1.0, 1.0, 1.0)))
    canonical = ToCanonicald("fixed")
    cropped = SpatialCropd("fixed", roi_start=(0, 0, 0), roi_end=(2, 2, 2))
    with cropped.cropper.trace_transform(False), pytest.raises(ValueError, match="no longer"):
        canonical.inverse(cropped(canonical({"fixed": volume})))


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((1.0, 1.0, 1.0), 2),
        ((1.0, 1.0, 5.0), 2),
        ((5.0, 1.0, 1.0), 0),
        ((1.0, 6.0, 1.0), 1),
        ((1.0, 1.4, 1.0), 2),
        ((3.0, 3.0, 1.0), 2),
    ],
)
def test_slices_follow_the_thick_axis_or_else_the_body(spacing, axis):
    assert slice_axis_of(affine_of(np.eye(3), spacing)) == axis


@pytest.mark.parametrize("axes", SIGNED_PERMUTATIONS[::5])
def test_thick_slices_end_up_last_in_any_storage_order(axes):
    world_axis = 0  # sagittal slices, 5 mm apart
    stored_axis = int(np.flatnonzero(axes[world_axis])[0])
    spacing = np.where(np.arange(3) == stored_axis, 5.0, 1.0)
    volume = random_volume(affine_of(axes, spacing))
    out = ToCanonicald("fixed")({"fixed": volume})["fixed"]
    assert codes_of(out) == "ASR"
    assert np.allclose(out.pixdim, [1, 1, 5])


def ramp(affine: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A linear function of the place in mm: linear interpolation must return it everywhere."""
    index = torch.stack(torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij"), -1)
    place = index.double() @ affine[:3, :3].T + affine[:3, 3]
    return (place @ torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))[None].float()


@pytest.mark.parametrize("spacing", [0.7, 1.5])
def test_cubes_and_back_interpolate_at_the_right_places(spacing):
    turn = Rotation.from_euler("xyz", [10, -15, 5], degrees=True).as_matrix()
    affine = affine_of(turn @ SIGNED_PERMUTATIONS[13], (1.0, 1.2, 3.0), (4.0, -7.0, 9.0))
    shape = (20, 18, 9)
    volume = MetaTensor(ramp(affine, shape), affine=affine)
    case = ChooseGridd("fixed", spacing=spacing)(ToCanonicald("fixed")({"fixed": volume}))
    cubes = case["fixed"]
    assert np.allclose(cubes.pixdim, spacing)
    inside = (slice(None), *[slice(5, -5)] * 3)
    expected = ramp(cubes.affine, tuple(cubes.shape[1:]))
    assert torch.allclose(cubes.as_tensor()[inside], expected[inside], atol=1e-4)
    for corner in product((0, 1), repeat=3):  # the field of view stays the same to half a cube
        old = affine.numpy() @ [*(np.array(corner) * shape - 0.5), 1.0]
        index = np.linalg.solve(cubes.affine.numpy(), old)[:3]
        ends = np.array([[-0.5] * 3, np.array(cubes.shape[1:]) - 0.5])
        assert np.abs(index - ends).min(axis=0).max() <= 0.51

    back = RestoreGridd("fixed")(case)["fixed"]
    assert back.shape == volume.shape
    assert torch.equal(back.affine, affine)
    inside = (slice(None), *[slice(3, -3)] * 3)
    assert torch.allclose(back.as_tensor()[inside], volume.as_tensor()[inside], atol=1e-4)


def test_without_a_spacing_the_grid_is_kept():
    case = {"fixed": random_volume(affine_of(np.eye(3), (1.0, 2.0, 3.0)))}
    assert ChooseGridd("fixed")(case)["fixed"] is case["fixed"]


@pytest.mark.parametrize("spacing", [-1.0, float("nan"), float("inf")])
def test_spacings_that_are_no_lengths_are_refused(spacing):
    with pytest.raises(InputError, match="spacing"):
        ChooseGridd("fixed", spacing=spacing)


def test_too_many_cubes_are_refused():
    case = {"fixed": random_volume(affine_of(np.eye(3), (1.0, 1.0, 1.0)))}
    with pytest.raises(InputError, match="larger spacing"):
        ChooseGridd("fixed", spacing=1e-3)(case)


def test_unknown_planes_are_refused():
    with pytest.raises(InputError, match="axial, coronal, sagittal"):
        ToCanonicald("fixed", slice_along="oblique")


def test_results_from_elsewhere_are_not_restored():
    volume = random_volume(affine_of(np.eye(3), (1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="ToCanonicald"):
        RestoreGridd("fixed")({"fixed": volume})
    case = ToCanonicald("fixed")({"fixed": volume})
    with pytest.raises(ValueError, match="not on the grid"):
        RestoreGridd("weight")({**case, "weight": torch.zeros(1, 2, 3, 4)})


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_reordering_moves_every_voxel_to_its_place(
    order: tuple[int, ...], signs: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_geometry, "slabs", lambda shape: slabs(shape, most_voxels=40))
    values = torch.arange(2 * 4 * 5 * 6.0).reshape(2, 4, 5, 6)
    shape = [values.shape[1 + axis] for axis in order]
    lookup = np.zeros((4, 4))
    lookup[3, 3] = 1
    for target, axis in enumerate(order):
        lookup[axis, target] = signs[axis]
        lookup[axis, 3] = 0 if signs[axis] > 0 else values.shape[1 + axis] - 1
    working = np.diag([2.0, 3.0, 4.0, 1.0])
    moved = grid_geometry.reordered(values, working, working @ lookup, shape)
    assert moved is not None
    assert moved.is_contiguous()
    for voxel in np.ndindex(*shape):
        source = (lookup @ [*voxel, 1])[:3].round().astype(int)
        assert torch.equal(moved[(slice(None), *voxel)], values[(slice(None), *source)])
