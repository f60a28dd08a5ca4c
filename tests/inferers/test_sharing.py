"""Several processes on one volume: the result of one process, with a share of the work each."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_runs import LoadedProcess, Run
from rank_fusion import be, name_of_run, volume
from run_cases import RecordingNet, demo_subject

from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.utils.hashes import sha256_of
from monai_ddfm.workflow import bundle_root, fuse

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def ranks(loaded: LoadedProcess, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has."""
    folder = tmp_path_factory.mktemp("ranks")
    runs = [Run(be, (rank, 2, folder), folder) for rank in range(2)]
    for ended in loaded.run(runs, said=folder):
        assert ended.status == 0, ended.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_equal_one(ranks: list[dict[str, Any]]) -> None:
    network = RecordingNet()
    whole = DDFMInferer(steps=2, noise="independent")(volume(), network)
    for rank in ranks:
        assert torch.equal(rank["fused"], whole)
    # Two steps for each of two sources in six slices.
    assert [rank["evaluations"] for rank in ranks] == [12, 12]
    assert len(network.seen) == 24


def test_the_name_of_a_run_is_the_same_in_another_process(ranks: list[dict[str, Any]]) -> None:
    """What one that was killed has finished is found by its name."""
    assert {rank["name"] for rank in ranks} == {name_of_run()}


def test_alone_there_is_nothing_to_share() -> None:
    network = RecordingNet()
    shared = DDFMInferer(steps=1, distributed=True)(volume(), network)
    assert torch.equal(shared, DDFMInferer(steps=1)(volume(), network))


@pytest.mark.slow
def test_the_configuration_with_torchrun(tmp_path: Path) -> None:
    subject, root = demo_subject(tmp_path), bundle_root()
    options = {"modality": "PET", "registration": "none", "device": "cpu", "steps": 2}
    one = fuse(subject.fixed, subject.moving, output_dir=tmp_path / "one", **options)  # type: ignore[arg-type]
    files = [str(root / "configs" / f"{name}inference.json") for name in ("", "multi_gpu_")]
    command = ["torchrun", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run"]
    command += ["--config_file", json.dumps(files), "--bundle_root", str(root)]
    command += ["--fixed", str(subject.fixed), "--moving", str(subject.moving)]
    command += ["--output_dir", str(tmp_path / "two")]
    for name, value in options.items():
        if name != "device":
            command += [f"--{name}", str(value)]
    subprocess.run(command, check=True, env=ENVIRONMENT, timeout=900)
    for name in ("fused.nii.gz", "weight.nii.gz", "fused_rgb.nii.gz"):
        assert sha256_of(tmp_path / "two" / name) == sha256_of(one.files[name])
    assert not list((tmp_path / "two").glob(".ddfm*"))
