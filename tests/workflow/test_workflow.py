"""The bundle run from Python: what it leaves, what repeats."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from run_cases import NOTICE, SMALL, demo_subject, randomize
from workflow_runs import run

import monai_ddfm
from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import prior_info, save_prior
from monai_ddfm.workflow import FusionResult, bundle_root, fuse


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DemoSubject]:
    base = tmp_path_factory.getbasetemp()
    return lambda *args, **options: demo_subject(base, *args, **options)


def voxels(result: FusionResult, name: str) -> bytes:
    return np.asarray(nib.load(result.files[name]).dataobj).tobytes()


@pytest.fixture(scope="module")
def plain(pet: DemoSubject, tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    return run(pet, tmp_path_factory.mktemp("plain") / "out" / "deeper")


# --- what a run leaves


def test_the_package_offers_it() -> None:
    assert monai_ddfm.fuse is fuse
    assert monai_ddfm.FusionResult is FusionResult


def test_files_of_a_run(plain: FusionResult) -> None:
    expected = {
        "fused.nii.gz",
        "fused_rgb.nii.gz",
        "weight.nii.gz",
        "moving_registered.nii.gz",
        "transform.tfm",
        "preview.png",
        "report.html",
        "provenance.json",
    }
    assert set(plain.files) == expected
    assert {path.name for path in plain.output_dir.iterdir()} == expected
    for name, path in plain.files.items():
        assert path == plain.output_dir / name
        assert path.is_absolute()
    with Image.open(plain.files["preview.png"]) as picture:
        picture.load()
        assert min(picture.size) > 200


def test_volumes_are_on_the_grid_of_the_mri(plain: FusionResult, pet: DemoSubject) -> None:
    fixed = nib.load(pet.fixed)
    for name in ("fused.nii.gz", "weight.nii.gz", "moving_registered.nii.gz"):
        volume = nib.load(plain.files[name])
        assert volume.shape == fixed.shape
        assert volume.get_data_dtype() == np.float32
        np.testing.assert_allclose(volume.affine, fixed.affine, atol=1e-5)
        assert volume.header["qform_code"] == fixed.header["qform_code"]
        assert volume.header["sform_code"] == fixed.header["sform_code"]
    rgb = nib.load(plain.files["fused_rgb.nii.gz"])
    assert rgb.shape[:3] == fixed.shape
    fused = nib.load(plain.files["fused.nii.gz"]).get_fdata()
    weight = nib.load(plain.files["weight.nii.gz"]).get_fdata()
    assert 0 <= fused.min() < 0.05
    assert 0.5 < fused.max() <= 1
    assert 0 <= weight.min() < 0.2
    assert 0.8 < weight.max() <= 1


def test_moving_keeps_its_units(plain: FusionResult, pet: DemoSubject) -> None:
    """What is written is the PET resampled by an independent program, value for value."""
    fixed, moving = sitk.ReadImage(str(pet.fixed)), sitk.ReadImage(str(pet.moving))
    transform = sitk.ReadTransform(str(plain.files["transform.tfm"]))
    expected = sitk.Resample(
        sitk.Cast(moving, sitk.sitkFloat32), fixed, transform, sitk.sitkLinear, 0.0
    )
    ours = sitk.ReadImage(str(plain.files["moving_registered.nii.gz"]))
    difference = sitk.GetArrayFromImage(ours) - sitk.GetArrayFromImage(expected)
    assert abs(difference).max() < 1e-3 * sitk.GetArrayFromImage(moving).max()


def lies_between_the_sources(result: FusionResult) -> bool:
    """Of a run without a margin of noise."""
    bound = result.provenance["bound"]
    return bound["largest"] <= bound["tolerance"] and bound["voxels_outside"] == 0


def test_fused_lies_between_the_sources(pet: DemoSubject, tmp_path: Path) -> None:
    assert lies_between_the_sources(run(pet, tmp_path / "out", noise_margin=0))


def test_with_a_margin_it_leaves_the_sources_by_the_measured_noise_at_most(
    pet: DemoSubject, tmp_path: Path
) -> None:
    provenance = run(pet, tmp_path / "out", noise_margin=2).provenance
    bound, (noise,) = provenance["bound"], provenance["reports"]["noise"].values()
    assert noise["prior"] == "run"
    deviation = max(noise[role]["at_white"] for role in ("fixed", "moving"))
    assert bound["tolerance"] < bound["largest"] <= 2 * deviation
    assert bound["beyond_scale"] == 0


def test_provenance_says_how_it_came_to_be(plain: FusionResult, pet: DemoSubject) -> None:
    provenance = plain.provenance
    assert provenance == json.loads(plain.files["provenance.json"].read_text())
    assert provenance["notice"] == NOTICE
    options = provenance["options"]
    assert options["seed"] == 0
    assert options["steps"] == 2
    assert options["preset"] == "default"
    assert options["modality"] == "PET"
    assert options["registration"] == "none"

    def sha256(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    for role, path in (("fixed", pet.fixed), ("moving", pet.moving)):
        assert provenance["inputs"][role]["path"] == str(path)
        assert provenance["inputs"][role]["sha256"] == sha256(path)
    model = bundle_root() / "models" / "model.pt"
    assert provenance["prior"]["sha256"] == sha256(model)
    for name, about in provenance["outputs"].items():
        assert about["sha256"] == sha256(plain.files[name])
    assert set(provenance["outputs"]) == set(plain.files) - {"provenance.json"}
    seconds = provenance["seconds"]
    assert {
        "loading",
        "registration",
        "intensity",
        "sampling",
        "color",
        "writing",
    } <= seconds.keys()
    assert 0 < seconds["sampling"] < seconds["total"]
    assert provenance["memory"]["peak_rss_bytes"] > 1e8
    assert provenance["software"]["torch"] == torch.__version__
    assert provenance["software"]["monai-ddfm"]
    assert {"reading", "registration", "intensity"} <= provenance["reports"].keys()


def test_dicom_folders_give_the_same_head_as_nifti(
    pet: DemoSubject, plain: FusionResult, tmp_path: Path
) -> None:
    assert pet.fixed_dicom is not None
    assert pet.moving_dicom is not None
    result = fuse(
        pet.fixed_dicom,
        pet.moving_dicom,
        modality="PET",
        output_dir=tmp_path,
        steps=2,
        registration="none",
    )
    inputs = result.provenance["inputs"]
    assert inputs["fixed"]["kind"] == "folder"
    assert inputs["fixed"]["files"] == len(list(pet.fixed_dicom.iterdir()))
    assert result.provenance["reports"]["patient"]["moving"]["same"] is True
    # The same head as from NIfTI, whatever way the slices lie in memory.
    ours, theirs = (sitk.ReadImage(str(r.files["fused.nii.gz"])) for r in (result, plain))
    again = sitk.GetArrayFromImage(sitk.Resample(ours, theirs, sitk.Transform(), sitk.sitkLinear))
    other = sitk.GetArrayFromImage(theirs)
    assert np.corrcoef(again.ravel(), other.ravel())[0, 1] > 0.98


# --- what repeats


def test_same_seed_same_bytes_whatever_the_batch_size(
    plain: FusionResult, pet: DemoSubject, tmp_path: Path
) -> None:
    for size in (1, 3):
        again = run(pet, tmp_path / str(size), batch_size=size)
        for name in ("fused.nii.gz", "weight.nii.gz", "fused_rgb.nii.gz"):
            assert voxels(again, name) == voxels(plain, name)
            assert again.files[name].read_bytes() == plain.files[name].read_bytes()


def test_another_seed_other_bytes_and_old_results_replaced(
    plain: FusionResult, pet: DemoSubject, tmp_path: Path
) -> None:
    shutil.copytree(plain.output_dir, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    other = run(pet, tmp_path / "out", seed=1, amp=True)
    assert voxels(other, "fused.nii.gz") != voxels(plain, "fused.nii.gz")
    assert voxels(other, "moving_registered.nii.gz") == voxels(plain, "moving_registered.nii.gz")
    assert other.provenance["options"]["amp"] is True
    assert json.loads((tmp_path / "out" / "provenance.json").read_text()) == other.provenance
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_ct_from_relative_paths_leaves_the_process_as_it_was(
    subjects: Callable[..., DemoSubject],
    tmp_path: Path,
    prior: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ct = subjects("CT")
    path, state = list(sys.path), torch.get_rng_state()
    before = (ct.fixed.read_bytes(), ct.moving.read_bytes())
    result = fuse(
        os.path.relpath(ct.fixed),
        os.path.relpath(ct.moving),
        modality="ct",
        output_dir="out",
        prior=prior,
        steps=1,
        registration="none",
        seed=None,
        noise_margin=0,
    )
    assert sys.path == path
    assert torch.equal(torch.get_rng_state(), state)
    assert (ct.fixed.read_bytes(), ct.moving.read_bytes()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert capfd.readouterr().out == ""
    assert result.output_dir == tmp_path / "out"
    assert "fused_rgb.nii.gz" not in result.files
    assert lies_between_the_sources(result)
    assert nib.load(result.files["moving_registered.nii.gz"]).get_fdata().min() < -900


def test_spect_and_a_prior_from_paths_with_characters_that_monai_reads(
    subjects: Callable[..., DemoSubject], tmp_path: Path
) -> None:
    spect, folder = subjects("SPECT"), tmp_path / "me@home %20 #1::2 $x (copy)"
    folder.mkdir()
    fixed, moving = folder / "t1 @#a.nii.gz", folder / "%#spect$.nii.gz"
    shutil.copy(spect.fixed, fixed)
    shutil.copy(spect.moving, moving)
    prior = folder / "my prior#1.pt"
    network = ADMUNet(**SMALL | {"patch_size": 2, "prediction_type": "v_prediction"})
    save_prior(randomize(network), prior)
    result = fuse(
        fixed,
        str(moving),
        modality="SPECT",
        output_dir=folder / "@#out",
        prior=prior,
        steps=1,
        registration="none",
        seed=3,
        noise_margin=0,
    )
    assert result.output_dir == folder / "@#out"
    assert result.provenance["inputs"]["moving"]["path"] == str(moving)
    assert result.provenance["prior"]["sha256"] == prior_info(prior).sha256
    assert lies_between_the_sources(result)
    assert result.provenance["options"]["modality"] == "SPECT"
    assert result.provenance["options"]["seed"] == 3
    assert "fused_rgb.nii.gz" in result.files
