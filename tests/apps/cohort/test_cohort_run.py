"""A small cohort on a local cluster: results, failures, continuing, tables, and who may come in."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cohort_makers import OPTIONS, bids_path, save, volumes
from run_cases import command, ending, one_sentence

pytest.importorskip("distributed", reason="needs the extra cohort")

from monai_ddfm.apps.cohort.cases import Selection
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.fingerprints import Settings
from monai_ddfm.apps.cohort.locking import only_run
from monai_ddfm.apps.cohort.records import read_records, record_path
from monai_ddfm.apps.cohort.study import CohortRequest, prepare
from monai_ddfm.apps.cohort.worker import Job, fuse_case


def arguments(source: Path, out: Path, prior: Path, *more: object) -> list[object]:
    fixed = ["--steps", 2, "--registration", "none", "--device", "cpu", "--prior", prior]
    return ["cohort", source, out, "participant", *fixed, "--nprocs", 1, *more]


def states(source: Path, out: Path, prior: Path, **changed: Any) -> dict[str, str]:
    options = OPTIONS | {"seed": 0, "batch_size": "auto", "amp": False, "format": "nifti"}
    options |= dict.fromkeys(("bias_correction", "bone_tint", "deidentify"), False)
    options |= {"deterministic_uids": False} | changed
    request = CohortRequest(source, out, options=options, prior=prior, device="cpu", workers=1)
    return {entry.case.key: entry.state for entry in prepare(request).plan().entries}


@pytest.fixture(scope="module")
def finished(source: Path, prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The output of the command, with its exit status and what it said.

    It is called in this process, which has loaded everything; its worker is one of its own. The
    tests of `test_cohort_survives.py` start it as a user does.
    """
    out = tmp_path_factory.mktemp("out") / "derivative"
    return out, ending(*arguments(source, out, prior), "--progress", "json")


def test_cohort_is_fused_and_failures_are_explained(finished: Any) -> None:
    out, ended = finished
    assert ended.status == 102, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    by_name = {event["event"]: event for event in events}
    assert by_name["begin"]["total"] == 3
    assert by_name["begin"]["dashboard"].startswith("http://127.0.0.1:")
    assert by_name["end"]["done"] == 2
    assert by_name["failed"]["case"] == "sub-03_pet"
    folder = out / "sub-01" / "pet"
    names = {path.name.removeprefix("sub-01_") for path in folder.iterdir()}
    assert names >= {
        "space-T1w_desc-fused_pet.nii.gz",
        "space-T1w_desc-fused_pet.json",
        "space-T1w_desc-weight_pet.nii.gz",
        "space-T1w_desc-report_pet.html",
        "space-T1w_desc-provenance_pet.json",
        "space-T1w_desc-log_pet.txt",
        "space-T1w_desc-thumbnail_pet.jpg",
    }
    assert "bids:raw:sub-01/anat/sub-01_T1w.nii.gz" in (
        folder / "sub-01_space-T1w_desc-fused_pet.json"
    ).read_text(encoding="utf-8")
    assert not any(path.name.startswith("sub-03") for path in out.iterdir())
    work = out.with_name("derivative_work")
    assert not list((work / "cases").iterdir())


def test_tables_have_every_case_and_figure(finished: Any) -> None:
    out, _ = finished
    with (out / "cohort.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"sub-01_pet", "sub-02_pet", "sub-03_pet", "sub-04"}
    assert rows["sub-01_pet"]["status"] == "done"
    folder = out / "sub-01" / "pet"
    provenance = json.loads(
        (folder / "sub-01_space-T1w_desc-provenance_pet.json").read_text(encoding="utf-8")
    )
    report = provenance["reports"]["registration"]["moving"]
    dependence = float(rows["sub-01_pet"]["registration_dependence"])
    assert dependence == pytest.approx(report["dependence"])
    assert float(rows["sub-01_pet"]["bound_largest"]) == provenance["bound"]["largest"]
    assert rows["sub-03_pet"]["status"] == "failed"
    assert "the PET" in rows["sub-03_pet"]["reason"]
    assert "no MRI" in rows["sub-04"]["reason"]
    tables = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    assert [case["case"] for case in tables["cases"]] == ["sub-01_pet", "sub-02_pet", "sub-03_pet"]
    assert tables["notice"] == "research use only - not for diagnosis"
    page = (out / "group.html").read_text(encoding="utf-8")
    assert "sub-01/pet/sub-01_space-T1w_desc-report_pet.html" in page


def test_only_what_has_changed_is_done_again(
    source: Path, prior: Path, finished: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    out, _ = finished
    todo = {"sub-03_pet": "failed before"}
    done = dict.fromkeys(("sub-01_pet", "sub-02_pet"), "done")
    assert states(source, out, prior) == done | todo
    changed = dict.fromkeys(done, "options or version changed")
    assert states(source, out, prior, seed=1) == changed | todo
    # The same content under another time: the content decides, and nothing is fused.
    os.utime(bids_path(source, "01", "pet"))
    touched = done | {"sub-01_pet": "inputs touched"}
    assert states(source, out, prior) == touched | todo
    before = {path: path.stat().st_mtime_ns for path in (out / "sub-01").rglob("*")}
    cases = {case.key: case for case in find_cases(source, Selection(), labels={}).cases}
    record = read_records(out)["sub-01_pet"]
    settings = Settings(OPTIONS, prior, "cpu", record.program)
    work = out.with_name("derivative_work")
    kept = fuse_case(Job(cases["sub-01_pet"], settings, out, work, source, record, 1))
    assert kept.status == "done"
    assert before == {path: path.stat().st_mtime_ns for path in (out / "sub-01").rglob("*")}
    assert states(source, out, prior) == done | todo
    # A result that is gone or cut off is made again.
    result = out / "sub-02" / "pet" / "sub-02_space-T1w_desc-fused_pet.nii.gz"
    whole = result.read_bytes()
    result.write_bytes(whole[:100])
    assert states(source, out, prior)["sub-02_pet"] == "results missing"
    result.write_bytes(whole)
    # Another content under the same name is fused again.
    moving = bids_path(source, "02", "pet")
    kept_bytes = moving.read_bytes()
    save(moving, volumes(9)[1])
    known = read_records(out)["sub-02_pet"]
    settings = Settings(OPTIONS, prior, "cpu", known.program)
    again = fuse_case(Job(cases["sub-02_pet"], settings, out, work, source, known, 1))
    assert again.status == "done"
    assert again.content != known.content
    assert result.read_bytes() != whole
    moving.write_bytes(kept_bytes)


def test_a_damaged_record_is_as_good_as_none(finished: Any, source: Path, prior: Path) -> None:
    out, _ = finished
    path = record_path(out, "sub-01_pet")
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    assert states(source, out, prior)["sub-01_pet"] == "new"
    path.write_bytes(whole)


def test_one_run_at_a_time(
    finished: Any, source: Path, prior: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, _ = finished
    with only_run(out):
        status, _, err = command(capfd, *arguments(source, out, prior))
    assert status == 2
    assert f"is in use by process {os.getpid()}" in one_sentence(err)


def test_group_level_puts_together_what_is_there(
    finished: Any, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, _ = finished
    before = (out / "cohort.csv").read_bytes()
    page = (out / "group.html").read_bytes()
    known = read_records(out)["sub-02_pet"]
    (out / "cohort.csv").unlink()
    (out / "group.html").unlink()
    status, _, _ = command(capfd, "cohort", source, out, "group")
    assert status == 102
    assert (out / "cohort.csv").read_bytes().splitlines()[0] == before.splitlines()[0]
    assert (out / "cohort.csv").read_bytes().splitlines()[1] == before.splitlines()[1]
    assert len((out / "group.html").read_bytes()) == pytest.approx(len(page), rel=0.1)
    assert known.status == "done"
    status, _, err = command(capfd, "cohort", source, tmp_path, "group")
    assert status == 2
    assert "no results of a cohort" in one_sentence(err)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--participant-label", "77"], "no images of sub-77"),
        (["--modality", "XR"], "use CT, PET, SPECT, US or MR"),
        (["--mri", "T1"], "--mri T1 is unknown"),
        (["--profile", "a.yaml", "--scheduler", "tcp://a"], "exclude each other"),
        (["--scheduler", "tcp://127.0.0.1:9", "--progress", "loud"], "progress 'loud'"),
        (["-w", "OUT"], "work folder"),
        (["--preset", "sharp"], "preset 'sharp' is unknown"),
        (["--preset", "default", "--speed", "turbo"], "speed 'turbo' is unknown"),
        (["--window", "brain"], "window 'brain' is unknown for PET"),
        (["--prior-share", "2", "--dry-run"], "prior share 2.0 must lie between 0 and 1"),
    ],
)
def test_wishes_that_cannot_be_met(
    source: Path,
    prior: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    out = tmp_path / "out"
    given = [str(out) if text == "OUT" else text for text in more]
    status, _, err = command(capfd, *arguments(source, out, prior, *given))
    assert status == 2
    assert said in one_sentence(err)
    assert not out.exists()


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--prior-share", 0.5],
        ["--fidelity", 0.9],
        ["--noise-margin", 2],
        ["--favor-moving", 8],
        ["--smooth-across", 1],
        ["--compile", "default"],
        ["--samples", 2],
        ["--moving-frames", 0],
        ["--allow-patient-mismatch"],
        ["--batch-size", 3],
        ["--samples", 1, "--preset", "default", "--color-table", "inferno", "--seed", 0],
    ],
)
def test_options_of_the_command_count(
    finished: Any, source: Path, prior: Path, capfd: pytest.CaptureFixture[str], more: list[object]
) -> None:
    out, _ = finished
    _, plan, _ = command(capfd, *arguments(source, out, prior, "--dry-run", *more))
    changes_nothing = not more or more[0] == "--batch-size" or more[:2] == ["--samples", 1]
    assert plan.count("options or version changed") == (0 if changes_nothing else 3)


def test_output_must_not_hold_the_input(
    source: Path, prior: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = command(capfd, *arguments(source, source, prior))
    assert status == 2
    assert "holds the input" in one_sentence(err)
