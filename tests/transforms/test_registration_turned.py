"""Heads that lie the other way round, and what is said where a head seems wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from moved_heads import head, load, report, rigid, tre, turned_by
from scipy import ndimage

from monai_ddfm.data.transform_files import transform_matrix, transform_of
from monai_ddfm.transforms.registration import RegisterRigid, RegisterVolumes
from monai_ddfm.transforms.registration_evidence import outlines
from monai_ddfm.transforms.registration_optimizer import (
    COARSE,
    distance,
    linear,
    optimize,
    turn_between,
)
from monai_ddfm.transforms.registration_verdict import NOT_SEEN
from monai_ddfm.transforms.similarity import JointHistogram, working_image, working_spacing
from monai_ddfm.transforms.simpleitk_bridge import scalar_image


@pytest.fixture(scope="module")
def moved_ct() -> MetaTensor:
    return head("CT", spacing=6.0, shape=(48, 50, 44), to_head=rigid().GetInverse())


def turn(axis: tuple[float, float, float], degrees: float, center: np.ndarray) -> sitk.Transform:
    made = sitk.VersorRigid3DTransform(axis, np.radians(degrees))
    made.SetCenter(center.tolist())
    return made


@pytest.mark.parametrize(("axis", "degrees"), [((0.0, 1.0, 0.0), 180.0), ((0.0, 0.0, 1.0), 180.0)])
def test_a_head_that_lies_the_other_way_round_is_turned_and_told(axis, degrees, fixed, moved_pet):
    move = turn(axis, degrees, np.zeros(3))
    out = RegisterRigid()(turned_by(moved_pet, move), fixed)
    assert tre(transform_of(out), sitk.CompositeTransform([move, rigid()])) < 2
    notes = report(out)
    assert notes["status"] == "warn"
    assert any("it turns the head by" in reason for reason in notes["reasons"])
    assert notes["rival_score"] < 0.9
    assert notes["rival_dependence"] < notes["dependence"]
    assert notes["rival_turn_deg"] > 30


def test_two_orientations_that_fit_alike_are_never_ok(fixed, moved_ct):
    """The shells of this CT are an ellipsoid's: turned by half, they fit as well."""
    move = turn((0.0, 0.0, 1.0), 180.0, np.zeros(3))
    notes = report(RegisterRigid(refuse=False)(turned_by(moved_ct, move), fixed))
    assert notes["status"] == "refuse"
    assert any("fits nearly as well (dependence" in reason for reason in notes["reasons"])


def test_the_phantom_scanned_feet_first_is_turned(shared: Path):
    """MR head first, CT feet first (TCIA MRI-DIR, CC BY 4.0): the bones have to coincide."""
    folder = shared / "cases" / "mr_ct_turned"
    fixed, moving = load(folder / "T2.nii.gz", "MR"), load(folder / "CT.nii.gz", "CT")
    fixed.meta["patient_position"], moving.meta["patient_position"] = "HFS", "FFS"
    out = RegisterRigid()(moving, fixed)
    half = linear(np.diag([-1.0, 1.0, -1.0, 1.0]))
    assert turn_between(transform_of(out), half) < 10
    values, signal = out[0].numpy(), fixed[0].numpy()
    bone = values > 700
    around = ndimage.binary_dilation(bone, iterations=4) & (values > -100) & (values < 200)
    assert bone.sum() > 1000
    # Bone is dark in T2, the meat around it is not.
    assert np.median(signal[bone]) < 0.6 * np.median(signal[around])
    notes = report(out)
    assert notes["status"] == "warn"
    assert notes["rival_dependence"] < 0.8 * notes["dependence"]
    assert "HFS for the fixed and FFS for the moving volume" in notes["notes"][0]


@pytest.mark.parametrize(
    ("fixed_lies", "moving_lies", "count"),
    [("HFS", "FFS", 1), ("HFS", "HFP", 1), ("HFS", "HFS", 0), ("", "FFS", 0)],
)
def test_patients_that_lay_differently_are_a_note(fixed_lies, moving_lies, count):
    fixed = head("MR", spacing=12.0, shape=(20, 20, 16), patient_position=fixed_lies)
    moving = head("PET", spacing=12.0, shape=(20, 20, 16), patient_position=moving_lies)
    notes = report(RegisterVolumes("none")(moving, fixed))["notes"]
    assert len(notes) == count
    assert all(fixed_lies in note and moving_lies in note for note in notes)


def test_a_wrong_voxel_size_is_told_and_a_right_one_is_not(fixed, moved_ct):
    right = report(RegisterRigid(refuse=False)(moved_ct, fixed))
    assert not any("in one direction" in reason for reason in right["reasons"])
    assert right["wanted_stretch"] == pytest.approx([1.0, 1.0], abs=0.04)
    affine = moved_ct.affine.clone()
    affine[:3, 0] *= 1.1
    kept = {key: value for key, value in moved_ct.meta.items() if key != "affine"}
    wide = MetaTensor(moved_ct.as_tensor(), affine=affine, meta=kept)
    told = report(RegisterRigid(refuse=False)(wide, fixed))
    assert told["status"] != "ok"
    assert told["wanted_stretch"][0] == pytest.approx(1.1, abs=0.03)
    assert any("larger in one direction" in reason for reason in told["reasons"])


def test_what_covers_more_of_the_head_does_not_count_as_a_better_size():
    """A slab of a PET, right as it lies: stretched along its axis it covers more of the MRI."""
    fixed = head("MR", spacing=8.0, shape=(40, 40, 32))
    whole = head("PET", spacing=8.0, shape=(40, 40, 32))
    affine = whole.affine.clone()
    affine[:3, 3] += 12 * affine[:3, 2]
    slab = MetaTensor(whole.as_tensor()[..., 12:20].contiguous(), affine=affine)
    score = JointHistogram(*(working_image(scalar_image(v), spacing=4.0) for v in (fixed, slab)))
    right, stretched = sitk.ScaleTransform(3, [1.0] * 3), sitk.ScaleTransform(3, [1.0, 1.0, 0.85])
    before, after = score.side_by_side(right, stretched)
    assert score(stretched) / score(right) - 1 > 0.05
    assert after / before - 1 < 0.02
    complete = JointHistogram(
        *(working_image(scalar_image(v), spacing=4.0) for v in (fixed, whole))
    )
    for one in (right, stretched):  # where all is seen it is the same figure
        assert complete.side_by_side(one, one)[0] == pytest.approx(complete(one), rel=0.01)


@pytest.mark.parametrize("size_mm", [200.0, 20.0, 0.2])
def test_a_fixed_volume_in_other_units_makes_no_working_grid_that_fills_the_memory(size_mm):
    fixed, moving = sitk.Image(50, 50, 50, sitk.sitkUInt8), sitk.Image(60, 60, 60, sitk.sitkUInt8)
    fixed.SetSpacing([size_mm / 50] * 3)
    moving.SetSpacing([4.0] * 3)
    spacing = working_spacing(fixed, moving)
    assert (240.0 / spacing) ** 3 <= 2**25 * 1.001
    assert (spacing == working_spacing(fixed)) is (size_mm > 100)


def test_a_search_moves_at_a_half_turn_too():
    """The derivatives of a versor have a pole there."""
    one = working_image(scalar_image(head("MR", spacing=8.0, shape=(40, 40, 32))), spacing=4.0)
    place = transform_matrix(turn((0.0, 0.0, 1.0), 180.0, one.center))
    turned = turned_by(head("MR", spacing=8.0, shape=(40, 40, 32)), linear(place))
    other = working_image(scalar_image(turned), spacing=4.0)
    aside = np.eye(4)
    aside[:3, 3] = (12.0, -9.0, 10.0)
    found = optimize(one, other, linear(aside @ place), COARSE)
    assert distance(one, linear(aside @ place), linear(place)) > 15
    assert distance(one, found, linear(place)) < 4


@pytest.mark.parametrize(
    ("factor", "least", "most"), [(1.0, -12, 0), (1.3, 8, 30), (0.8, -40, -14)]
)
def test_outlines_lie_on_each_other_outside_or_inside(factor, least, most):
    """Heads of the same pose; the moving one larger by a factor."""
    fixed = working_image(scalar_image(head("CT", spacing=8.0, shape=(40, 40, 32))), spacing=4.0)
    larger = sitk.ScaleTransform(3, [1 / factor] * 3)
    moving = head("CT", spacing=8.0, shape=(40, 40, 32), to_head=larger)
    lie = outlines(
        fixed,
        working_image(scalar_image(moving), spacing=4.0),
        sitk.Transform(3, sitk.sitkIdentity),
    )
    assert lie is not None
    assert least < lie.offset < most
    assert lie.spread < 8.0  # a voxel of the coarse grid


def test_a_volume_without_air_has_no_outline():
    everywhere = MetaTensor(torch.rand(1, 20, 20, 20), affine=torch.eye(4))
    seen = working_image(scalar_image(everywhere), spacing=1.0)
    assert outlines(seen, seen, sitk.Transform(3, sitk.sitkIdentity)) is None


def test_every_report_says_what_no_figure_sees():
    small = head("MR", spacing=12.0, shape=(20, 20, 16))
    assert report(RegisterVolumes("none")(small, small))["not_seen"] == list(NOT_SEEN["head"])
