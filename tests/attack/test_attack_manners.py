"""What belongs to the caller is left as it was: loggers, and the network."""

from __future__ import annotations

import json
import logging
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hostile_files import nifti
from run_cases import RecordingNet, command, one_sentence, saved_prior

from monai_ddfm.apps.cohort.clusters import Site, open_client
from monai_ddfm.apps.cohort.profiles import read_profile
from monai_ddfm.apps.label.pairing import Candidate, PairingRules
from monai_ddfm.cli.endings import explanation, was_interrupted
from monai_ddfm.data.readers import read_volume
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.networks.priors import network_from_file


def levels() -> dict[str, int]:
    names = [*logging.root.manager.loggerDict, "distributed", "tornado", "asyncio", "bids"]
    return {name: logging.getLogger(name).level for name in names}


def test_loggers_of_the_caller(tmp_path: Path) -> None:
    logging.getLogger("distributed.worker").setLevel(logging.DEBUG)
    logging.getLogger("tornado").setLevel(logging.INFO)
    before = levels()
    with open_client(Site(1, 1), tmp_path):
        assert logging.getLogger("tornado").level == logging.CRITICAL
    after = levels()
    assert {name: after[name] for name in before} == before
    assert all(after[name] == logging.NOTSET for name in set(after) - set(before)
               if name.partition(".")[0] in ("distributed", "tornado", "asyncio"))  # fmt: skip


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_the_network_of_the_caller(form: torch.memory_format) -> None:
    network = RecordingNet().to(memory_format=form)
    before = {name: (p.stride(), p.clone()) for name, p in network.named_parameters()}
    volume = torch.rand(1, 2, 24, 20, 2) * 2 - 1
    DDFMInferer(preset="gain", steps=2)(volume, network)
    assert network.seen
    for name, parameter in network.named_parameters():
        stride, value = before[name]
        assert parameter.stride() == stride, name
        assert torch.equal(parameter, value), name


# --- documents, memory and interrupts


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"architecture": {"a": [['])
def test_documents_nested_deep(tmp_path: Path, opening: str, capfd) -> None:
    deep = opening * 20_000
    prior = saved_prior(tmp_path)
    prior.with_suffix(".json").write_text(deep)
    with pytest.raises(InputError, match=r"prior\.json"):
        network_from_file(prior)
    (tmp_path / "pairs.json").write_text(deep)
    with pytest.raises(InputError, match=r"pairs\.json"):
        PairingRules.read(pairs=tmp_path / "pairs.json")
    (tmp_path / "profile.yaml").write_text(deep)
    with pytest.raises(InputError, match=r"profile\.yaml"):
        read_profile(tmp_path / "profile.yaml")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "provenance.json").write_text(deep)
    status, _, err = command(capfd, "evaluate", tmp_path / "out")
    assert status == 2
    assert "provenance.json" in one_sentence(err)


@pytest.mark.parametrize("source", [7, {}, ["a"], None, "\ud800"])
def test_records_that_name_no_file(tmp_path: Path, source: object, capfd) -> None:
    record = {"inputs": {"fixed": {"path": source}}, "options": {"modality": "PET"}}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    status, _, err = command(capfd, "evaluate", tmp_path)
    assert status == 2
    assert "provenance.json" in one_sentence(err)


def test_yaml_that_multiplies(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{n}: &{n} [{', '.join(['*' + p] * 9)}]"
        for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    (tmp_path / "profile.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="aliases"):
        read_profile(tmp_path / "profile.yaml")


def test_what_the_machine_refuses_is_said() -> None:
    def chained(error: BaseException) -> BaseException:
        outer = RuntimeError("applying transform <x>")
        outer.__cause__ = error
        return outer

    for error in (
        MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"), ImportError("x: failed to map segment from y"),
    ):  # fmt: skip
        assert "not enough memory" in str(explanation(chained(error)))
    assert "TMPDIR" in str(explanation(FileNotFoundError(2, "No usable temporary directory found")))
    assert "disk is full" in str(explanation(chained(OSError(28, "No space left on device"))))
    assert explanation(chained(ZeroDivisionError("x"))) is None
    assert was_interrupted(chained(KeyboardInterrupt()))
    assert not was_interrupted(chained(ValueError()))


def run_limited(*arguments: str, kilobytes: int) -> subprocess.CompletedProcess[str]:
    call = " ".join([f"ulimit -v {kilobytes};", sys.executable, "-m", "monai_ddfm", *arguments])
    return subprocess.run(
        ["bash", "-c", call], capture_output=True, text=True, timeout=200, check=False
    )


def test_no_memory_is_a_sentence() -> None:
    done = run_limited("fuse", "--help", kilobytes=300_000)
    assert done.returncode == 2
    assert "are needed" in one_sentence(done.stderr)


@pytest.mark.slow
def test_ctrl_c_in_the_first_second(tmp_path: Path) -> None:
    chance = random.Random(3)
    call = [sys.executable, "-m", "monai_ddfm", "fuse", "--fixed", "a.nii", "--moving", "b.nii",
            "--modality", "PET", "-o", str(tmp_path / "out")]  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(20):
            process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True)
            time.sleep(0.1 + chance.random())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            assert process.returncode in (2, 130), err
            one_sentence(err)
    finally:
        signal.signal(signal.SIGINT, before)


def test_landmarks_and_json_are_sound(tmp_path: Path) -> None:
    """The readers above do read what is not nested deep."""
    (tmp_path / "pairs.json").write_text(json.dumps({"a": "b"}))
    assert PairingRules.read(pairs=tmp_path / "pairs.json").pairs == {"a": (Candidate("b"),)}


def test_names_command_no_terminal(tmp_path: Path, capfd) -> None:
    name = "a\x1b[31m\nb\u202e.nii.gz"
    (tmp_path / name).write_bytes(b"x")
    call = ("fuse", "--fixed", tmp_path / name, "--moving", tmp_path / name, "--modality", "PET")
    status, _, err = command(capfd, *call, "-o", tmp_path / "out")
    assert status == 2
    assert r"a\x1b[31m\nb\u202e.nii.gz" in one_sentence(err)


def test_what_nibabel_mends_is_a_note_or_one_sentence(tmp_path: Path, capfd) -> None:
    """It prints on its own."""
    content = bytearray(nifti(tmp_path / "a.nii", (6, 7, 5), code=4, data=bytes(420)).read_bytes())
    struct.pack_into("<4f", content, 76, 1, -2, 2, 2)
    struct.pack_into("<60h", content, 352, *range(60))
    (tmp_path / "a.nii").write_bytes(content)
    report = read_volume(tmp_path / "a.nii", modality="MR").report
    assert any("damaged: pixdim[1,2,3] should be positive" in note for note in report["notes"])
    struct.pack_into("<f", content, 108, -100.0)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match="vox offset -100 too low"):
        read_volume(tmp_path / "a.nii", modality="MR")
    assert capfd.readouterr() == ("", "")
