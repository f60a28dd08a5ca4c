"""`benchmark-cohort`: what is refused, why a run failed, and the command itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from run_cases import command, one_sentence

from monai_ddfm.apps.speed.cohorts import _reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "workers '0'"),
        (["--workers", ""], "workers ''"),
        (["--subjects", "1"], "subjects 1 are too few"),
        (["--subjects", "2", "--scale", "9"], "scale is 9.0"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_wrong_options_are_refused_and_leave_nothing(
    arguments: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = command(capfd, "benchmark-cohort", *arguments, "-o", tmp_path / "out")
    assert status == 2
    assert words in one_sentence(err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["benchmark-speed", "benchmark-cohort"])
def test_an_output_that_is_no_folder_is_refused_before_anything_is_measured(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    status, _, err = command(capfd, name, "-o", tmp_path / "file")
    assert status == 2
    assert "file" in one_sentence(err)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_run_is_explained_by_its_own_words() -> None:
    def ended(out: str, err: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 101, stdout=out, stderr=err)

    events = [{"event": "started"}, {"event": "done", "reason": "x.nii does not exist."}]
    lines = "\n".join(map(json.dumps, events))
    assert _reason(ended(lines, "note\nerror: no scheduler.\n")) == "no scheduler."
    assert _reason(ended(lines, "")) == "x.nii does not exist."
    assert _reason(ended("", "")) == "exit status 101."


@pytest.mark.slow
def test_the_command_writes_what_it_prints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--subjects", "2", "--workers", "1", "-o", "out"]
    status, out, err = command(capfd, "benchmark-cohort", *options)
    assert status == 0, err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "benchmark-cohort.json",
        "benchmark-cohort.md",
    ]
    (row,) = json.loads(Path("out/benchmark-cohort.json").read_text(encoding="utf-8"))["rows"]
    assert 0 < row["fusion seconds"] < row["engine seconds"] < row["seconds"]
    assert row["times first"] == 1
    assert Path("out/benchmark-cohort.md").read_text(encoding="utf-8") == out
