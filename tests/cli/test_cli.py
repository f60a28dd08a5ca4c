"""The command as a user calls it: results that are named, options that arrive, priors described."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
import typer
from run_cases import SMALL, command, heeding_ctrl_c, one_sentence, randomize, untold
from typer.testing import CliRunner

from monai_ddfm import workflow
from monai_ddfm.apps import demo
from monai_ddfm.apps.demo import DemoSubject, make_demo
from monai_ddfm.cli import app
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import network_from_file, save_prior
from monai_ddfm.workflow import fuse


def program(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    """Start the program as a user does, from `folder`."""
    with heeding_ctrl_c():
        return subprocess.Popen(
            [sys.executable, "-m", "monai_ddfm", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


# --- fuse and demo


def test_every_option_arrives(pet: DemoSubject, tmp_path: Path, prior: Path) -> None:
    mask = tmp_path / "mask.nii.gz"
    moving = nib.load(pet.moving)
    region = (np.indices(moving.shape)[0] > 4).astype(np.uint8)
    nib.save(nib.Nifti1Image(region, moving.affine), mask)
    landmarks = tmp_path / "landmarks.json"
    landmarks.write_text(json.dumps(np.linspace(-1, 1, 11).tolist()))
    told = {
        "preset": "default",
        "speed": "fast",
        "steps": 1,
        "prior_share": 0.4,
        "fidelity": 0.9,
        "noise_margin": 1.5,
        "favor_moving": 1.0,
        "smooth_across": 0.5,
        "seed": 7,
        "samples": 2,
        "batch_size": 2,
        "fixed_series": "T1",
        "moving_series": "PET",
        "moving_frames": "0",
        "spacing": 12.0,
        "slice_along": "coronal",
        "registration": str(identity(tmp_path / "identity.tfm")),
        "registration_start": "centers",
        "region": "head",
        "window": "cerebellum",
        "reference_mask": str(mask),
        "landmarks": str(landmarks),
        "color_table": "hot_iron",
        "color_style": "overlay",
        "series_number": 77,
    }
    elsewhere = {
        "device": "cpu",
        "prior": prior,
        "format": "both",
        "fixed_frames": "0",
        "bids_root": tmp_path / "bids",
        "bids_subject": "01",
        "bids_session": "02",
        "bids_tracer": "FDG",
        "bids_space": "orig",
        "patient_name": "A^B",
        "patient_id": "4711",
        "patient_birth_date": "1970-12-31",
        "patient_sex": "F",
    }
    switches = ("amp", "allow_patient_mismatch", "invert_transform", "bias_correction")
    switches += ("deidentify", "allow_burned_in", "deterministic_uids")
    not_here = {"bone_tint", "push", "compile", "max_memory", "dry_run", "recover_moving", "planes"}
    command = typer.main.get_command(app).commands["fuse"]  # type: ignore[attr-defined]
    known = {p.opts[0].removeprefix("--").replace("-", "_") for p in command.params}
    known -= {"fixed", "moving", "modality", "name", "output_dir", "help", "help_all", "help_json"}
    assert known == {*told, *elsewhere, *switches} | not_here

    arguments = [f"--{n.replace('_', '-')}={v}" for n, v in (told | elsewhere).items()]
    seen: dict[str, Any] = {}

    def run(fixed: Path, moving: Path, **options: Any) -> None:
        seen.update(options)
        raise InputError("that will do")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "fuse", run)
        CliRunner().invoke(
            app,
            [
                "fuse",
                *("--fixed", str(pet.fixed_dicom), "--moving", str(pet.moving_dicom)),
                *("--modality", "pt", "--output-dir", str(tmp_path / "out")),
                *(f"--{name.replace('_', '-')}" for name in switches),
                *arguments,
            ],
        )
    assert seen["patient"] == {
        "name": "A^B",
        "id": "4711",
        "birth_date": "1970-12-31",
        "sex": "F",
    }
    # The mask is drawn on the NIfTI's grid, so the rest of the way goes with the NIfTI files.
    for only_dicom in ("fixed_series", "moving_series", "fixed_frames", "moving_frames"):
        assert str(seen.pop(only_dicom)) == str((told | elsewhere)[only_dicom])
        told.pop(only_dicom, None)
    seen |= {"deidentify": False}
    result = fuse(pet.fixed, pet.moving, **seen)
    provenance = result.provenance
    for name, value in told.items():
        assert provenance["options"][name] == value
    for name in set(switches) - {"deidentify"}:
        assert provenance["options"][name] is True
    assert provenance["options"]["bids"]["subject"] == "01"
    mask_report = provenance["reports"]["reference_mask"]["moving"]
    assert mask_report["drawn_on"] == "moving"
    assert mask_report["voxels"] > 1000
    assert provenance["reports"]["intensity"]["fixed_scaled"]["landmarks"] == "Nyul"
    assert provenance["reports"]["intensity"]["fixed_scaled"]["bias_correction"] == "N4"
    assert provenance["reports"]["registration"]["moving"]["inverted"] is True
    colored = provenance["reports"]["color"]["fused_rgb"]
    assert colored["color_table"] == "hot_iron"
    assert (colored["style"], colored["luminance"]) == ("overlay", "the fixed volume")
    assert provenance["prior"]["sha256"] == hashlib.sha256(prior.read_bytes()).hexdigest()
    name = "sub-01/ses-02/pet/sub-01_ses-02_trc-FDG_space-orig_desc-fused_pet.nii.gz"
    assert (tmp_path / "bids" / name).read_bytes() == result.files["fused.nii.gz"].read_bytes()
    first = next((result.output_dir / "dicom" / "fused").iterdir())
    assert pydicom.dcmread(first).SeriesNumber == 77
    assert pydicom.dcmread(first).PatientID == "4711"


def identity(path: Path) -> Path:
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    return path


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_the_demo_leaves_its_subject_and_its_fusion(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real subject, only coarser: at full size it takes minutes.
    monkeypatch.setattr(demo, "make_demo", partial(make_demo, scale=4))
    arguments = ["--modality", "SPECT", "--output-dir", tmp_path, "--steps", 1, "--seed", 2]
    status, out, err = command(capfd, "demo", *arguments)
    assert (status, untold(err)) == (0, "")
    assert err.startswith("making an MRI and a SPECT of a simulated head\nfound t1.nii.gz (MRI, ")
    assert str(tmp_path / "preview.png") in out
    assert {p.name for p in (tmp_path / "subject").iterdir()} == {
        "t1.nii.gz",
        "spect.nii.gz",
        "spect_to_t1_truth.tfm",
    }
    fused, fixed = (nib.load(tmp_path / name) for name in ("fused.nii.gz", "subject/t1.nii.gz"))
    assert fused.shape == fixed.shape
    np.testing.assert_allclose(fused.affine, fixed.affine, atol=1e-5)


@pytest.mark.slow
def test_demo_at_full_size(tmp_path: Path) -> None:
    run = program("demo", "-o", "out", "--device", "cpu", folder=tmp_path)
    _, err = run.communicate(timeout=600)
    assert run.returncode == 0, err
    provenance = read_json(tmp_path / "out" / "provenance.json")
    assert provenance["seconds"]["total"] < 240
    assert provenance["memory"]["peak_rss_bytes"] < 4e9
    shape = nib.load(tmp_path / "out" / "fused.nii.gz").shape
    assert all(side >= least for side, least in zip(shape, (150, 180, 60), strict=True))


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing(pet: DemoSubject, tmp_path: Path) -> None:
    run = program(
        "--verbose",
        "fuse",
        *("--fixed", pet.fixed, "--moving", pet.moving, "--modality", "PET"),
        *("-o", "out", "--preset", "gain", "--steps", "900"),
        *("--registration", "none", "--device", "cpu"),
        folder=tmp_path,
    )
    assert run.stderr is not None
    said = ""
    while "Engine run" not in said:  # it has begun in earnest
        line = run.stderr.readline()
        assert line, said
        said += line
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    # The interpreter ends itself by the signal where the interrupt has passed through an eval.
    assert run.returncode in {130, -signal.SIGINT}
    assert err.splitlines()[-1].startswith("error: stopped by the user")
    assert "Traceback" not in err
    # Finished slices are kept for the next run; nothing else is.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent.name.startswith(".ddfm-work-") for path in files), files


# --- priors


def test_priors_convert_and_describe(
    shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, prior = shared / "golden" / "adm_tiny.pt", tmp_path / "prior.pt"
    arguments = ["--num-head-channels", 16, "--dtype", "float32"]
    status, converted, err = command(capfd, "prior", "convert", source, prior, *arguments)
    assert (status, err) == (0, "")
    assert {p.name for p in tmp_path.iterdir()} == {"prior.pt", "prior.json"}
    status, described, err = command(capfd, "prior", "info", prior)
    assert (status, err) == (0, "")
    assert described == converted
    assert hashlib.sha256(prior.read_bytes()).hexdigest() in described
    for words in ("ADMUNet", "float32", str(prior), str(prior.stat().st_size)):
        assert words in described
    with np.load(shared / "golden" / "adm_tiny_forward.npz") as golden:
        x, t, y = (torch.from_numpy(golden[key]) for key in "xty")
    with torch.no_grad():
        torch.testing.assert_close(network_from_file(prior)(x, t), y, rtol=0, atol=2e-5)

    status, _, err = command(capfd, "prior", "convert", prior, tmp_path / "again.pt")
    assert status == 2
    assert "already" in one_sentence(err)
    status, described, _ = command(capfd, "prior", "info", source)
    assert status == 0
    assert "guided-diffusion" in described


def test_info_shows_odd_paths_as_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prior = tmp_path / ("[bold]a long name[bold] " * 5 + ".pt")
    save_prior(randomize(ADMUNet(**SMALL)), prior)
    status, out, _ = command(capfd, "prior", "info", prior)
    assert status == 0
    assert str(prior) in out
