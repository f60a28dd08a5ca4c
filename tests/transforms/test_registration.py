"""Registration: known transforms recovered, failures owned up to, the same bytes every time."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from moved_heads import (
    HEAD_POINTS,
    head,
    matrix_of,
    report,
    rigid,
    tre,
)
from scipy.spatial.transform import Rotation

from monai_ddfm.data.transform_files import (
    read_transform,
    transform_of,
    write_transform,
)
from monai_ddfm.errors import InputError
from monai_ddfm.transforms import registration
from monai_ddfm.transforms.registration import (
    ApplyTransform,
    ApplyTransformd,
    RegisterRigid,
    RegisterRigidd,
    RegisterVolumes,
    RegisterVolumesd,
)
from monai_ddfm.transforms.simpleitk_bridge import resample
from monai_ddfm.utils.reports import reports_of


@pytest.fixture(scope="module")
def registered(fixed, moved_pet) -> MetaTensor:
    return RegisterRigid()(moved_pet, fixed)


def test_a_known_rigid_transform_is_recovered(fixed, moved_pet, registered):
    assert tre(sitk.Transform(3, sitk.sitkIdentity), rigid()) > 8
    assert tre(transform_of(registered), rigid()) < 2
    notes = report(registered)
    assert notes["status"] == "ok"
    assert notes["reasons"] == []
    assert notes["mi_after"] > 2 * notes["mi_before"]
    assert notes["agreement"] > 0.5
    assert notes["head_covered"] > 0.9
    assert notes["rotation_deg"] == pytest.approx(
        np.degrees(np.linalg.norm(Rotation.from_matrix(matrix_of(rigid())).as_rotvec())), abs=1.0
    )
    assert len(notes["corner_displacement_mm"]) == 8
    assert max(notes["corner_displacement_mm"]) == notes["displacement_mm"]
    assert registered.shape == fixed.shape
    assert torch.equal(registered.affine, fixed.affine)
    assert registered.dtype == torch.float32


def test_values_are_interpolated_once_and_keep_their_units(fixed, moved_pet, registered):
    again = resample(moved_pet, fixed, transform_of(registered))
    assert torch.equal(again.as_tensor(), registered.as_tensor())
    assert registered.max() > 0.8 * moved_pet.max()
    assert registered.meta["filename_or_obj"] == "pet.nii.gz"


def test_the_reported_matrix_is_the_one_in_the_file(registered, tmp_path):
    path = write_transform(registered, tmp_path / "transform.tfm")
    matrix = np.array(report(registered)["transform"])
    read = read_transform(path)
    for point in HEAD_POINTS[:5]:
        assert np.allclose((matrix @ [*point, 1.0])[:3], read.TransformPoint(point), atol=1e-9)


def test_the_bytes_do_not_depend_on_the_run_or_the_threads(fixed, moved_pet, registered):
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before + 3)
    try:
        again = RegisterRigid()(moved_pet, fixed)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert torch.equal(again.as_tensor(), registered.as_tensor())
    assert report(again) == report(registered)


def test_ct_is_padded_with_air(fixed):
    out = RegisterVolumes("none")(head("CT", spacing=4.0, shape=(50, 60, 40)), fixed)
    assert out[0, 0, 0, 0] == -1000
    assert report(out)["outside"] == -1000


def test_unrelated_volumes_are_refused_with_advice(fixed):
    waves = np.random.default_rng(9).normal(size=(24, 26, 28))
    affine = torch.diag(torch.tensor([9.0, 9.0, 9.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = -110.0
    other = MetaTensor(torch.from_numpy(waves)[None].float(), affine=affine)
    other.meta["filename_or_obj"] = "noise.nii.gz"
    with pytest.raises(InputError) as caught:
        RegisterRigid()(other, fixed)
    message = str(caught.value)
    assert "noise.nii.gz" in message
    assert "mr.nii.gz" in message
    assert "registration=none" in message
    assert "\n" not in message


def test_a_refusal_can_be_a_warning_instead(fixed, moved_pet, tmp_path, caplog):
    away = write_transform(sitk.TranslationTransform(3, (900.0, 0.0, 0.0)), tmp_path / "away.tfm")
    with pytest.raises(InputError, match="covers 0% of the fixed head"):
        ApplyTransform(str(away))(moved_pet, fixed)
    with caplog.at_level(logging.WARNING):
        out = ApplyTransform(str(away), refuse=False)(moved_pet, fixed)
    assert report(out)["status"] == "refuse"
    assert "pet.nii.gz" in caplog.text
    assert (out == 0).all()


def far_away(volume: MetaTensor, **meta: object) -> MetaTensor:
    affine = volume.affine.clone()
    affine[:3, 3] += 2000.0
    kept = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(volume.as_tensor(), affine=affine, meta={**kept, **meta})


@pytest.mark.parametrize("method", ["rigid", "none"])
def test_fields_of_view_that_do_not_meet_are_refused(fixed, moved_pet, method):
    with pytest.raises(InputError, match=r"pet\.nii\.gz.*do not overlap"):
        RegisterVolumes(method)(far_away(moved_pet), fixed)


def test_two_frames_of_reference_need_not_meet_by_their_headers(fixed, moved_pet):
    here = head("MR", frame_of_reference_uid="1.2.3")
    there = far_away(moved_pet, frame_of_reference_uid="1.2.4")
    out = RegisterRigid()(there, here)
    shifted = sitk.CompositeTransform([sitk.TranslationTransform(3, (-2000, -2000, 2000)), rigid()])
    assert tre(transform_of(out), shifted) < 2
    assert report(out)["start"] == "centers"


def test_volumes_aligned_already_are_only_resampled(fixed):
    pet = head("PET", spacing=6.0, shape=(48, 50, 44))
    out = RegisterVolumes("none")(pet, fixed)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    assert torch.equal(out.as_tensor(), resample(pet, fixed, identity).as_tensor())
    assert report(out)["status"] == "ok"
    assert report(out)["agreement"] is None
    assert np.array_equal(report(out)["transform"], np.eye(4))


def test_a_wrong_claim_of_alignment_is_reported_not_refused(fixed, moved_pet):
    notes = report(RegisterVolumes("none")(moved_pet, fixed))
    assert notes["status"] == "warn"
    assert any("would still move the head" in reason for reason in notes["reasons"])


def test_a_given_file_is_applied_and_its_direction_checked(fixed, moved_pet, tmp_path):
    right = write_transform(rigid(), tmp_path / "right.tfm")
    wrong = write_transform(rigid().GetInverse(), tmp_path / "wrong.h5")
    out = ApplyTransform(str(right))(moved_pet, fixed)
    assert torch.equal(out.as_tensor(), resample(moved_pet, fixed, read_transform(right)))
    assert report(out)["status"] == "ok"
    assert report(out)["file"] == str(right)
    inverted = ApplyTransform(str(wrong), invert=True)(moved_pet, fixed)
    assert torch.allclose(inverted.as_tensor(), out.as_tensor(), atol=0.5)
    notes = report(RegisterVolumes(str(wrong))(moved_pet, fixed))
    assert notes["status"] == "warn"
    assert any("inverse fits better" in reason for reason in notes["reasons"])


def test_colors_are_registered_by_luminance_and_resampled_by_channel(fixed):
    pet = head("PET", spacing=6.0, shape=(48, 50, 44))
    colors = torch.cat([pet * 0.02, pet * 0.01, pet * 0.005]).clamp(min=0)
    rgb = MetaTensor(colors.as_tensor(), affine=pet.affine)
    out = RegisterVolumes("none", interpolation="nearest")(rgb, fixed)
    assert out.shape == (3, *fixed.shape[1:])
    assert torch.allclose(out[0], 2 * out[1])
    assert torch.allclose(out[1], 2 * out[2])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"method": "magic"}, "rigid, affine, deformable, none"),
        ({"method": "missing.tfm"}, "missing.tfm"),
        ({"start": "corner"}, "centers"),
        ({"interpolation": "sinc"}, "bspline"),
        ({"control_spacing": 0.0}, "control_spacing"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, word):
    with pytest.raises(InputError, match=word):
        RegisterVolumes(**options)


def test_a_single_slice_ends_in_a_result():
    values = torch.rand(1, 40, 40, 1, generator=torch.Generator().manual_seed(0))
    slab = MetaTensor(values, affine=torch.eye(4))
    out = RegisterRigid(refuse=False)(slab, slab)
    assert torch.allclose(out.as_tensor(), values, atol=1e-5)


def test_volumes_of_a_few_voxels_are_resampled_but_not_registered():
    small = MetaTensor(torch.rand(1, 3, 2, 1), affine=torch.eye(4))
    assert torch.allclose(RegisterVolumes("none")(small, small).as_tensor(), small.as_tensor())
    with pytest.raises(InputError, match="6 voxels, too few"):
        RegisterRigid()(small, small)


def test_dictionary_versions_replace_the_moving_volume_only(fixed, moved_pet, tmp_path):
    path = str(write_transform(rigid(), tmp_path / "t.tfm"))
    case = {"fixed": fixed, "moving": moved_pet, "other": 1}
    out = Compose([RegisterVolumesd(method=path)])(case)
    assert out["fixed"] is fixed
    assert out["other"] == 1
    assert case["moving"] is moved_pet
    assert "registration" not in reports_of(moved_pet)
    assert torch.equal(out["moving"].as_tensor(), ApplyTransformd(path)(case)["moving"])
    assert json.loads(json.dumps(report(out["moving"])))["status"] == "ok"


def test_the_names_follow_monai():
    assert RegisterVolumes("Rigid").method == "rigid"
    for name in ("RegisterVolumes", "RegisterRigid", "RegisterAffine", "RegisterDeformable"):
        dictionary = getattr(registration, f"{name}d")
        assert getattr(registration, f"{name}D") is dictionary
        assert getattr(registration, f"{name}Dict") is dictionary
    assert RegisterRigidd("a", "b", start="headers").register.start == "headers"
