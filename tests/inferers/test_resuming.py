"""A run that is killed goes on where it stopped, and ends with the same bytes."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked_runs import LoadedProcess, Run, module
from run_cases import RecordingNet, command, heeding_ctrl_c, one_sentence
from torch import Tensor

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.data.writers import ClearWorkd, WorkFolder
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.utils.hashes import sha256_of


def pair(slices: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    volume = torch.rand(1, 2, 24, 20, slices, generator=generator) * 2 - 1
    volume[..., 0, 0, :] = -1.0
    return volume


def inferer(folder: Path | None, **options: Any) -> DDFMInferer:
    store = WorkFolder(folder) if folder else None
    return DDFMInferer(
        **({"preset": "gain", "steps": 3, "batch_size": 2, "store": store} | options)
    )


class Stops(WorkFolder):
    """A work folder whose process dies after some batches."""

    def __init__(self, folder: Path, *, after: int, error: BaseException) -> None:
        super().__init__(folder)
        self.left, self.error = after, error

    def keep(self, finished: Mapping[int, Tensor]) -> None:
        if self.left == 0:
            raise self.error
        self.left -= 1
        super().keep(finished)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_what_is_finished_is_not_computed_again(tmp_path: Path, after: int) -> None:
    network, volume = RecordingNet(), pair()
    whole = inferer(None)(volume, network)
    evaluations = len(network.seen)
    network.seen.clear()
    with pytest.raises(KeyboardInterrupt):
        inferer(None, store=Stops(tmp_path, after=after, error=KeyboardInterrupt()))(
            volume, network
        )
    network.seen.clear()
    assert torch.equal(inferer(tmp_path)(volume, network), whole)
    assert len(network.seen) == evaluations - after * 2 * 3
    network.seen.clear()
    assert torch.equal(inferer(tmp_path)(volume, network), whole)
    assert network.seen == []


def test_another_run_takes_nothing(tmp_path: Path) -> None:
    network, volume = RecordingNet(), pair(3)
    first = inferer(tmp_path)(volume, network)
    other_network = RecordingNet(channels=(8, 24))
    changed = volume.clone()
    changed[0, 1, 5, 5, 1] += 1e-4
    for options, inputs, prior in (
        ({"seed": 1}, volume, network),
        ({"steps": 4}, volume, network),
        ({"noise": "independent"}, volume, network),
        ({"preset": "reference"}, volume, network),
        ({"autocast_dtype": "bfloat16"}, volume, network),
        ({"early_stop": 0.01}, volume, network),
        ({}, changed, network),
        ({}, volume, other_network),
    ):
        network.seen.clear()
        other_network.seen.clear()
        inferer(tmp_path, **options)(inputs, prior)
        assert network.seen or other_network.seen, options
    network.seen.clear()
    assert torch.equal(inferer(tmp_path, batch_size=3)(volume, network), first)
    assert network.seen == []  # the size of a batch changes no result


@pytest.mark.parametrize("damage", [b"", b"PK nonsense", None])
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage: bytes | None) -> None:
    network, volume = RecordingNet(), pair()
    whole = inferer(tmp_path)(volume, network)
    file = sorted(tmp_path.rglob("*.npz"))[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data) if damage is None else damage)
    network.seen.clear()
    assert torch.equal(inferer(tmp_path)(volume, network), whole)
    assert len(network.seen) == 2 * 3


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, volume = RecordingNet(), pair()
    whole = inferer(None)(volume, network)
    save, calls = np.savez, []

    def full(file: Any, **arrays: Any) -> None:
        calls.append(file)
        if len(calls) == 3:
            file.write(b"half of ")
            raise OSError(28, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="disk is full"):
        inferer(tmp_path)(volume, network)
    monkeypatch.undo()
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert len(list(tmp_path.rglob("*"))) == 3  # nothing half-written
    network.seen.clear()
    assert torch.equal(inferer(tmp_path)(volume, network), whole)
    assert len(network.seen) == (9 - 4) * 3


def test_the_folder_goes_when_the_results_are_written(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("stays")
    work = WorkFolder(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
    DDFMInferer(steps=1, store=work)(pair(2), RecordingNet())
    DDFMInferer(steps=2, store=work)(pair(2), RecordingNet())
    assert len(list(tmp_path.iterdir())) == 3
    assert ClearWorkd(work)({"case": 1}) == {"case": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_start_afresh(tmp_path: Path) -> None:
    network, volume = RecordingNet(), pair(3)
    inferer(tmp_path)(volume, network)
    network.seen.clear()
    inferer(None, store=WorkFolder(tmp_path, resume=False))(volume, network)
    assert len(network.seen) == 9


# --- the command


def call(subject: DemoSubject, out: Path, *, steps: int, prior: Path | None = None) -> list[str]:
    files = ["--fixed", str(subject.fixed), "--moving", str(subject.moving)]
    options = ["--registration", "none", "--steps", str(steps), "--batch-size", "1"]
    options += ["--preset", "gain"]  # which takes as many steps as it is told
    options += ["--device", "cpu"]  # a forked process has no GPU
    options += ["--prior", str(prior)] if prior else []
    words = [sys.executable, "-m", "monai_ddfm", "fuse", *files, "--modality", "PET"]
    return [*words, *options, "-o", str(out)]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    with heeding_ctrl_c():
        return subprocess.Popen(
            arguments,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def wait_for_slices(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while process.poll() is None and len(list(out.glob(".ddfm-work-*/*.npz"))) < count:
        time.sleep(0.01)


def interrupted(out: Path, words: list[str]) -> None:
    """Be the program, and get a Ctrl-C when two slices are finished."""

    def press() -> None:
        while len(list(out.glob(".ddfm-work-*/*.npz"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
    threading.Thread(target=press, daemon=True).start()
    module("monai_ddfm", *words)


def test_ctrl_c_says_how_to_go_on(
    loaded: LoadedProcess,
    pet: DemoSubject,
    prior: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    words = call(pet, out, steps=16, prior=prior)[3:]
    (ended,) = loaded.run([Run(interrupted, (out, words), tmp_path)], said=tmp_path)
    err = ended.stderr
    assert ended.status == 130, err[-2000:]
    assert "the same command goes on" in err
    assert one_sentence(err.splitlines(keepends=True)[-1])
    assert [path.name for path in out.iterdir() if not path.name.startswith(".ddfm-work")] == []
    status, _, err = command(capfd, *words)
    assert status == 0, err
    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert any("going on where an earlier run stopped" in text for text in told)
    assert not list(out.glob(".ddfm*"))


@pytest.mark.slow
def test_ten_kills_at_random_moments(pet: DemoSubject, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert start(call(pet, whole, steps=200)).wait(timeout=600) == 0
    chance, kills = random.Random(5), 0
    for _ in range(40):
        process = start(call(pet, out, steps=200))
        already = len(list(out.glob(".ddfm-work-*/*.npz")))
        wait_for_slices(process, out, already + chance.randint(0, 1))
        time.sleep(chance.random())
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if kills == 10:
            break
    assert kills == 10
    assert start(call(pet, out, steps=200)).wait(timeout=600) == 0
    for name in ("fused.nii.gz", "fused_rgb.nii.gz", "weight.nii.gz", "moving_registered.nii.gz"):
        assert sha256_of(out / name) == sha256_of(whole / name), name
    shutil.rmtree(out)
