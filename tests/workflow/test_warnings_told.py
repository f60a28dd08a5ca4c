"""What was assumed is told: by every command at its end, in the record, the report, the tables."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from cohort_makers import bids_path, bids_root, save, volumes
from monai.data import MetaTensor
from picture_makers import COLORS, GRADIENT, saved
from run_cases import RecordingNet, command, one_sentence

pytest.importorskip("distributed", reason="needs the extra cohort")

from monai_ddfm.apps.cohort.cases import Selection
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.fingerprints import Settings
from monai_ddfm.apps.cohort.worker import Job, fuse_case
from monai_ddfm.data.writers.anonymity import without_identity
from monai_ddfm.inferers import (
    DDFMInferer,
    SamplingProgress,
    TqdmProgress,
    collate_cases,
    prepare_case,
    progress,
    tailored,
)
from monai_ddfm.options.names import in_words_of
from monai_ddfm.transforms.intensity import NormalizeByModality
from monai_ddfm.utils.reports import reports_of
from monai_ddfm.utils.warnings_log import WARNINGS_LOG
from monai_ddfm.visualize.report.summary import warnings
from monai_ddfm.workflow import fuse

NOWHERE = "the header does not place the volume in space"
FAST = ("--steps", "1", "--registration", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An MRI and a PET that are placed, and the PET again in a header that says nothing."""
    folder = tmp_path_factory.mktemp("heads")
    mri, pet = volumes(1)
    found = {"mri": save(folder / "mri.nii.gz", mri), "pet": save(folder / "pet.nii.gz", pet)}
    lost = nib.load(found["pet"])
    lost.set_qform(None, 0)
    lost.set_sform(None, 0)
    found["aligned"] = save(folder / "aligned.nii.gz", mri)
    found["lost"] = folder / "lost.nii.gz"
    nib.save(lost, found["lost"])
    return found


def told(err: str) -> list[str]:
    return [line.removeprefix("warning: ") for line in err.splitlines() if "warning: " in line]


def run(
    capfd: pytest.CaptureFixture[str], heads: dict[str, Path], prior: Path, *more: object
) -> tuple[int, str]:
    call = ("--fixed", heads["mri"], "--modality", "PET", "--prior", prior)
    status, _, err = command(capfd, "fuse", *call, *FAST, *more)
    return status, err


def test_a_run_without_warnings_prints_none(
    heads: dict[str, Path], prior: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, err = run(capfd, heads, prior, "--moving", heads["aligned"], "-o", tmp_path)
    assert (status, told(err)) == (0, [])
    assert json.loads((tmp_path / "provenance.json").read_text())["warnings"] == []
    assert "No warnings." in (tmp_path / "report.html").read_text()


def test_a_note_of_the_reading_is_everywhere(
    heads: dict[str, Path], prior: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, err = run(capfd, heads, prior, "--moving", heads["lost"], "-o", tmp_path)
    assert status == 0
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert told(err) == record["warnings"]
    assert any(text.startswith(f"moving: {NOWHERE}") for text in record["warnings"])
    page = (tmp_path / "report.html").read_text()
    assert "No warnings." not in page
    assert page.index(f"moving: {NOWHERE}") < page.index("</section>")


def test_without_identity_the_note_stays(
    heads: dict[str, Path], prior: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--moving", heads["lost"], "-o", tmp_path, "--deidentify")
    assert run(capfd, heads, prior, *more)[0] == 0
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert any(NOWHERE in text for text in record["warnings"])


def test_values_do_not_stay_without_identity() -> None:
    notes = ["no SUV, because PatientWeight is '70,5 kg', which is no usable value", "12.5 mm"]
    reading = {"moving": {"format": "DICOM", "path": "/home/smith", "notes": notes}}
    bare = {"options": {}, "inputs": {}, "hardware": {}, "reports": {"reading": reading}}
    kept = without_identity(bare)["reports"]["reading"]["moving"]
    assert kept["notes"] == [
        "no SUV, because PatientWeight is '...', which is no usable value",
        "# mm",
    ]
    assert "path" not in kept


def test_python_logs_what_the_command_prints(
    heads: dict[str, Path], prior: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger=WARNINGS_LOG):
        options: dict[str, Any] = {"steps": 1, "registration": "none", "device": "cpu"}
        result = fuse(
            heads["mri"],
            heads["lost"],
            modality="PET",
            output_dir=tmp_path,
            prior=prior,
            **options,
        )
    logged = [r.getMessage() for r in caplog.records if r.name == WARNINGS_LOG]
    assert logged == result.provenance["warnings"]
    assert logged


def test_a_cohort_tells_them_by_case(
    prior: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = bids_root(tmp_path / "bids")
    mri, pet = volumes(1)
    save(bids_path(root, "01", "T1w"), mri)
    lost = nib.load(save(bids_path(root, "01", "pet"), pet))
    lost.set_qform(None, 0)
    lost.set_sform(None, 0)
    nib.save(lost, bids_path(root, "01", "pet"))
    (case,) = find_cases(root, Selection(), labels={}).cases
    out, work = tmp_path / "out", tmp_path / "work"
    work.mkdir()
    settings = Settings({"steps": 1, "registration": "none"}, prior, "cpu", "a digest")
    assert fuse_case(Job(case, settings, out, work)).status == "done"
    assert command(capfd, "cohort", root, out, "group")[0] == 0
    status, _, err = command(capfd, "cohort", root, out, "group")
    assert status == 0
    assert any(text.startswith(f"sub-01_pet: moving: {NOWHERE}") for text in told(err))
    (row,) = csv.DictReader((out / "cohort.csv").open())
    assert NOWHERE in row["warnings"]


def test_pictures_tell_them_too(
    prior: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opacity = np.where(GRADIENT > 100, 255, 0).astype(np.uint8)
    mri = saved(tmp_path / "mri.png", np.tile(GRADIENT, (7, 6)))
    pet = saved(tmp_path / "pet.png", np.tile(np.dstack([COLORS, opacity]), (7, 6, 1)))
    options = ("--modality", "PET", "--steps", 1, "--device", "cpu", "--prior", prior)
    status, _, err = command(capfd, "fuse-2d", mri, pet, *options, "-o", tmp_path / "fused.png")
    assert status == 0
    expected = "moving: what is transparent was laid on black"
    assert told(err) == [f"fused.png: {expected}"]
    assert json.loads((tmp_path / "fused.json").read_text())["warnings"] == [expected]
    sources = ("--fixed", mri, "--moving", pet)
    status, _, err = command(capfd, "evaluate", tmp_path / "fused.png", *sources)
    assert told(err) == [expected], err
    assert status == 0, err


def test_every_step_may_remark_on_something() -> None:
    reports = {
        "registration": {"moving": {"status": "ok", "notes": ["positions differ"]}},
        "reference_mask": {"moving": {"notes": ["the mask lies nowhere"]}},
        "intensity": {"moving": {"warnings": ["negative values"]}},
    }
    assert warnings({"reports": reports}) == [
        "registration: positions differ",
        "negative values",
        "reference mask: the mask lies nowhere",
    ]


# --- a CT that is not in HU


def ct(units: str | None) -> MetaTensor:
    values = torch.linspace(0, 4000, 8 * 9 * 10).reshape(1, 8, 9, 10)
    return MetaTensor(values, meta={} if units is None else {"units": units})


@pytest.mark.parametrize("units", [None, "HU", ""])
def test_a_ct_in_hu_gets_the_window_for_hu(units: str | None) -> None:
    report = reports_of(NormalizeByModality("CT")(ct(units)))["intensity"]
    assert (report["window"], report["warnings"]) == ("fusion", [])


def test_a_ct_that_is_not_in_hu_gets_percentiles_and_asks_for_a_window() -> None:
    scaled = NormalizeByModality("CT")(ct("relative"))
    report = reports_of(scaled)["intensity"]
    assert report["window"] == "0.5%..99.5%"
    assert 0 < report["lower"] < 200
    assert 3800 < report["upper"] < 4000
    assert "choose a window" in report["warnings"][0]


@pytest.mark.parametrize(("window", "doubtful"), [("brain", True), ("500..3000", False)])
def test_a_window_that_is_asked_for_holds_whatever_the_units(window: str, doubtful: bool) -> None:
    report = reports_of(NormalizeByModality("CT", window=window)(ct("relative")))["intensity"]
    assert report["window"] == window
    assert bool(report["warnings"]) is doubtful


def test_in_a_ct_without_hu_white_is_bone() -> None:
    volume = 2 * torch.rand(1, 2, 24, 20, 2, generator=torch.Generator().manual_seed(0)) - 1
    preset = tailored("default", modality="CT", finding=0.3)
    in_hu, without, plain = (
        DDFMInferer(preset=one, steps=2)(volume, RecordingNet(), **more)
        for one, more in ((preset, {}), (preset, {"in_units": False}), ("default", {}))
    )
    assert torch.equal(without, plain)
    assert not torch.equal(in_hu, plain)


@pytest.mark.parametrize(
    ("modality", "units", "told"),
    [("CT", "relative", {"in_units": False}), ("CT", "HU", {}), ("PET", "counts", {})],
)
def test_the_inferer_is_told_of_a_ct_without_hu(modality: str, units: str, told: dict) -> None:
    scaled = MetaTensor(torch.zeros(1, 4, 4, 4), meta={"units": units, "modality": modality})
    batch = collate_cases([{"image": torch.cat([scaled, scaled]), "moving_scaled": scaled}])
    image, label, rest, named = prepare_case(batch, torch.device("cpu"), False)
    assert image.shape == (1, 2, 4, 4, 4)
    assert (label, rest, named) == (None, (), told)


# --- options by the name of the interface


@pytest.mark.parametrize(
    ("interface", "shown"),
    [
        ("command line", "choose one with --fixed-series: 'T1', or --registration none."),
        ("python", "choose one with fixed_series=: 'T1', or registration=none."),
        ("monai", "choose one with --fixed_series: 'T1', or --registration none."),
    ],
)
def test_options_have_the_name_of_the_interface(interface: Any, shown: str) -> None:
    said = "choose one with fixed_series=: 'T1', or registration=none."
    assert in_words_of(interface, said) == shown
    assert in_words_of(interface, in_words_of("python", said)) == shown
    assert in_words_of(interface, "x=1 and --nprocs 2") == "x=1 and --nprocs 2"


def test_a_flag_becomes_an_argument_in_python() -> None:
    said = "allow it (--allow-patient-mismatch) or use --registration-start centers"
    told = "allow it (allow_patient_mismatch=) or use registration_start=centers"
    assert in_words_of("python", said) == told
    assert in_words_of("command line", told) == said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("use --format nifti or both", "use format=nifti or both"),
        ("leave --invert-transform out", "leave invert_transform= out"),
        ("give one with --bids-root or --nprocs 2", "give one with --bids-root or --nprocs 2"),
        ("give a larger --spacing, or less", "give a larger spacing=, or less"),
    ],
)
def test_only_words_of_an_option_go_along_with_it(said: str, told: str) -> None:
    assert in_words_of("python", said) == told


def test_a_refusal_names_the_option_of_the_role(
    heads: dict[str, Path], prior: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    four = nib.load(heads["mri"])
    path = tmp_path / "echoes.nii.gz"
    data = np.stack([four.get_fdata()] * 2, axis=-1).astype(np.float32)
    nib.save(nib.Nifti1Image(data, four.affine), path)
    more = ("--moving", heads["pet"], "--fixed", path, "-o", tmp_path / "out")
    status, err = run(capfd, heads, prior, *more)
    assert status == 2
    assert "choose one of 0 to 1 with --fixed-frames" in one_sentence(err)


# --- progress where nobody watches


def test_a_long_run_writes_a_line_for_every_tenth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(step=5.0)  # seconds, each time it is looked at
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert not sys.stderr.isatty()
    tell = TqdmProgress("head")
    for step in range(1, 41):
        tell(SamplingProgress(0, 1, 1, step, 40))
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1] == "head: 100 % of the sampling"
    assert [line.split(",")[0] for line in shown] == [
        f"head: {percent} % of the sampling" for percent in range(10, 101, 10)
    ]
    # Three glances at the clock for the first step, one for each other: 5 s a step from then on.
    assert shown[4] == "head: 50 % of the sampling, about 2 min to go"
    assert shown[8] == "head: 90 % of the sampling, about 21 s to go"


def test_a_short_run_writes_none(capsys: pytest.CaptureFixture[str]) -> None:
    tell = TqdmProgress("head")
    for step in range(1, 41):
        tell(SamplingProgress(0, 1, 1, step, 40))
    assert capsys.readouterr().err == ""
