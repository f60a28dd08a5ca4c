"""Runs that are killed at random moments over earlier, finished runs; and several runs at once.

Where the record of a run stands, every file beside it is of that run, DICOM included.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from run_cases import demo_subject, saved_prior

from monai_ddfm.utils.files import StagedFolder

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("ATTACK_KILLS", "30"))  # of each kind
_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}


def call(subject: Any, prior: Path, out: Path, *, seed: int, form: str) -> list[str]:
    words = [
        "fuse",
        "--fixed",
        subject.fixed_dicom,
        "--moving",
        subject.moving_dicom,
        "--modality",
        "PET",
        "--registration",
        "none",
        "--device",
        "cpu",
        "--steps",
        12,
        "--prior",
        prior,
        "--format",
        form,
        "--seed",
        seed,
        "--deterministic-uids",
        "-o",
        out,
    ]
    if form == "nifti":
        words.remove("--deterministic-uids")
    return [sys.executable, "-m", "monai_ddfm", *map(str, words)]  # fmt: skip


def images(folder: Path) -> dict[str, str]:
    """Content of what has to be the same for the same run: volumes and DICOM objects."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name.endswith((".nii.gz", ".dcm"))
        and not any(part.startswith(".ddfm") for part in path.relative_to(folder).parts)
    }  # fmt: skip


def check_whole(folder: Path, whole: dict[int, dict[str, str]]) -> int | None:
    """Where the record stands all must be of its run; returns the seed, None where none stands."""
    record = folder / "provenance.json"
    index = folder / "dicom" / "index.json"
    if not record.is_file():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    seed = content["options"]["seed"]
    assert images(folder) == whole[seed], f"a mixture beside the record of seed {seed}"
    for name, about in content["outputs"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == about["sha256"], name
    if content["options"]["format"] != "nifti":
        listed = {one["uid"] for one in json.loads(index.read_text())["series"].values()}
        found = {
            str(pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID)
            for path in (folder / "dicom").rglob("*.dcm")
        }
        assert found == listed
    return int(seed)


@pytest.mark.parametrize("form", ["nifti", "both"])
def test_kills_over_finished_runs(tmp_path: Path, form: str) -> None:
    subject, prior = demo_subject(tmp_path, dicom=True), saved_prior(tmp_path)
    whole, seconds = {}, 0.0
    for seed in (0, 1):
        begin = time.monotonic()
        out = tmp_path / f"whole-{seed}"
        subprocess.run(call(subject, prior, out, seed=seed, form=form), check=True, **_QUIET)
        seconds = time.monotonic() - begin
        whole[seed] = images(out)
    assert whole[0] != whole[1]
    chance, kills, mixtures = random.Random(7), 0, 0
    out = tmp_path / "used"
    shutil.copytree(tmp_path / "whole-0", out)
    seed = 1
    while kills < KILLS:
        process = subprocess.Popen(call(subject, prior, out, seed=seed, form=form), **_QUIET)
        if chance.random() < 0.7:  # about where results are put in their place
            end = time.monotonic() + 900  # the machine may be busy
            while process.poll() is None and not list(out.glob(".ddfm-partial-*")):
                time.sleep(0.002)
                assert time.monotonic() < end
            time.sleep(chance.random() * 0.6)
        else:
            time.sleep(chance.random() * seconds)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        check_whole(out, whole)
        if chance.random() < 0.4:
            done = subprocess.run(
                call(subject, prior, out, seed=seed, form=form), check=True, **_QUIET
            )
            assert "Traceback" not in done.stderr
            assert check_whole(out, whole) == seed
            assert not list(out.glob(".ddfm-*"))
            seed = 1 - seed
    subprocess.run(call(subject, prior, out, seed=seed, form=form), check=True, **_QUIET)
    assert check_whole(out, whole) == seed
    assert mixtures == 0


@pytest.mark.parametrize("count", [2, 3])
def test_runs_at_once(tmp_path: Path, count: int) -> None:
    subject, prior = demo_subject(tmp_path, dicom=True), saved_prior(tmp_path)
    whole = {}
    for seed in range(count):
        out = tmp_path / f"whole-{seed}"
        subprocess.run(call(subject, prior, out, seed=seed, form="both"), check=True, **_QUIET)
        whole[seed] = images(out)
    for _ in range(2):
        out = tmp_path / "shared-folder"
        runs = [
            subprocess.Popen(call(subject, prior, out, seed=seed, form="both"), **_QUIET)
            for seed in range(count)
        ]
        errors = [run.communicate(timeout=900)[1] for run in runs]
        assert [run.returncode for run in runs] == [0] * count, errors
        assert check_whole(out, whole) is not None
        assert not list(out.glob(".ddfm-*"))


def test_a_formats_change_leaves_nothing_of_the_other(tmp_path: Path) -> None:
    subject, prior = demo_subject(tmp_path, dicom=True), saved_prior(tmp_path)
    out = tmp_path / "out"
    for form in ("both", "nifti", "dicom"):
        subprocess.run(call(subject, prior, out, seed=0, form=form), check=True, **_QUIET)
        assert bool(list(out.glob("dicom/*/*.dcm"))) == (form != "nifti")
        assert (out / "fused.nii.gz").exists() == (form != "dicom")


_WRITER = """
import sys, time
from monai_ddfm.utils.files import StagedFolder
folder, text = sys.argv[1], sys.argv[2]
names = [f"d/{k}.txt" for k in range(40)] + ["d/in", "end"]
print("ready", flush=True)
while True:
    with StagedFolder(folder, marker="end", owned=names[:-2], inner=("d/in",)) as staged:
        for name in names:
            staged.path(name).write_text(text)
    time.sleep(0.1)
"""


def test_writers_killed_and_side_by_side(tmp_path: Path) -> None:
    """The commit alone, hundreds of times: two that write for ever, killed and started again."""
    folder, chance = tmp_path / "out", random.Random(11)

    def start(text: str) -> subprocess.Popen[str]:
        call = [sys.executable, "-c", _WRITER, str(folder), text]
        process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdout.close()
        return process

    writers = {text: start(text) for text in ("a", "b")}
    complete = 0
    for _ in range(40):
        time.sleep(0.05 + 0.2 * chance.random())
        text = chance.choice("ab")
        for one in writers.values():  # nothing moves while it is looked at
            one.send_signal(signal.SIGSTOP)
        writers[text].kill()
        writers[text].wait()
        if (folder / "end").is_file():
            complete += 1
            assert len({path.read_text() for path in folder.glob("d/*")}) == 1
            assert {path.read_text() for path in folder.glob("d/*")} == {
                (folder / "end").read_text()
            }
        writers[text] = start(text)
        for one in writers.values():
            one.send_signal(signal.SIGCONT)
    for one in writers.values():
        one.kill()
        one.wait()
    assert complete
    with StagedFolder(folder, marker="end") as staged:
        staged.path("end").write_text("c")
    assert not list(folder.glob(".ddfm-*"))
