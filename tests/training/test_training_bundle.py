"""The bundle's own training and evaluation configurations, with tiny networks and data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from training_makers import (
    BUNDLE,
    EVALUATE,
    MULTI_GPU,
    NETWORK,
    TRAIN,
    head,
    rows_of,
    save_heads,
    save_picture,
    state_of,
    tiny_network,
    tiny_options,
    training,
)

from monai_ddfm.errors import find_input_error
from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.networks.priors import network_from_file, save_prior
from monai_ddfm.training.validation import denoising_psnr, evenly_spread

_RANK_PROGRAM = """
import json, sys
import torch, torch.distributed as dist
from monai.bundle import ConfigWorkflow
torch.set_num_threads(1)
options = json.loads(open(sys.argv[1]).read())
workflow = ConfigWorkflow(
    config_file=sys.argv[2:], workflow_type="train", logging_file=False, **options
)
workflow.initialize()
workflow.run()
weights = workflow.trainer.network.module.state_dict()
torch.save(weights, f"{options['output_dir']}/rank{dist.get_rank()}.pt")
workflow.finalize()
"""


def test_training_lowers_the_loss_and_its_prior_fuses(data: Path, tmp_path: Path) -> None:
    workflow = training(
        data,
        tmp_path,
        max_iterations=90,
        val_interval=30,
        sample_interval=60,
        batch_size=8,
        learning_rate=5e-3,
        tensorboard=True,
    )
    assert workflow.check_properties() == []
    workflow.run()
    rows = rows_of(tmp_path / "log.csv")
    assert [row["iteration"] for row in rows] == ["30", "60", "90"]
    assert float(rows[-1]["loss"]) < 0.95 * float(rows[0]["loss"])
    assert float(rows[-1]["minutes"]) > 0
    assert list((tmp_path / "tensorboard").iterdir())
    pictures = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in pictures] == ["samples_00000060.png", "samples_00000090.png"]
    with Image.open(pictures[-1]) as picture:
        assert picture.size == (66, 66)

    prior = network_from_file(tmp_path / "model.pt")
    assert prior.prediction_type == "v_prediction"
    parser = workflow.parser
    clean = evenly_spread(parser.get_parsed_content("validate#dataset"), 2)
    scheduler = parser.get_parsed_content("scheduler")
    trained, untrained = (
        denoising_psnr(network, clean, scheduler, timesteps=(60, 150))
        for network in (prior, tiny_network())
    )
    assert all(trained[timestep] > untrained[timestep] + 1 for timestep in trained)

    sources = torch.from_numpy(head(40))[None, None].repeat(1, 2, 1, 1) * 2 - 1
    sources[:, 1] = sources[:, 1].flip(-1)
    fused = DDFMInferer(steps=3)(sources, prior)
    assert fused.shape == sources.shape
    assert torch.isfinite(fused).all()
    low, high = sources.amin(dim=1), sources.amax(dim=1)
    assert (fused[:, 0] >= low - 1e-4).all()
    assert (fused[:, 0] <= high + 1e-4).all()


def sources_of(workflow: Any) -> tuple[int, int]:
    parser = workflow.parser
    return tuple(  # type: ignore[return-value]
        len(parser.get_parsed_content(f"{part}#dataset")) for part in ("train", "validate")
    )


def test_one_folder_is_divided_by_subject_and_two_are_taken_whole(
    data: Path, tmp_path: Path
) -> None:
    save_heads(tmp_path / "val", count=3)
    assert sources_of(training(data, tmp_path)) == (11, 1)
    assert sources_of(training(data, tmp_path, val_dir=str(tmp_path / "val"))) == (12, 3)


def test_default_sources_are_the_mosaics(tmp_path: Path) -> None:
    for folder in ("ixi_t1_axial/train", "ixi_t1_axial/val"):
        save_picture(head(128), tmp_path / folder / "a.png")
    save_picture(head(256), tmp_path / "cheng_t1gd" / "b.png")
    options = {"train_dir": None, "dataset_dir": str(tmp_path)}
    workflow = training(tmp_path, tmp_path, **options)
    assert sources_of(workflow) == (6, 1)
    item = workflow.parser.get_parsed_content("train#dataset")[0]
    # 128 tiles of 2 mm on a canvas of 64.
    assert float(item["pixel_mm"]) == 4.0
    assert float(item["detail_mm"]) == 2.0


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    workflow = training(tmp_path, tmp_path / "out")
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    assert str(find_input_error(caught.value)).startswith(f"{tmp_path}: no picture")
    assert not (tmp_path / "out").exists()


def test_several_gpus_change_nothing_that_one_does_not_have() -> None:
    one, several = (json.loads(path.read_text()) for path in (TRAIN, MULTI_GPU))
    assert set(several) - {"finalize"} == {
        key for key in several if key != "finalize" and (key in one or key.startswith("train#"))
    }
    names = [entry["_target_"].split(".")[-1] for entry in one["train"]["handlers"]]
    # What rank 0 does alone comes last: `multi_gpu_train.json` cuts it off elsewhere.
    assert names[-3:] == ["TrainingLog", "HeldOutDenoising", "SampleGrid"]
    assert names[3:5] == ["TrainingBudget", "TrainingCheckpoint"]


def command(config: Path | str, **options: Any) -> list[str]:
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config)]
    for name, value in {"bundle_root": BUNDLE, **options}.items():
        words += [f"--{name}", str(value)]
    return words


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def write_options(data: Path, output: Path, **more: Any) -> Path:
    options = tiny_options(data, output, **more)
    del options["device"]
    path = output.parent / f"{output.name}.json"
    path.write_text(json.dumps(options))
    return path


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_iterations": 300, "checkpoint_minutes": 0.002}
    output = tmp_path / "killed"
    arguments = command(TRAIN, args_file=write_options(data, output, **options))
    running = subprocess.Popen(arguments, env=environment())
    deadline = time.monotonic() + 120
    while not (output / "model.pt").is_file() or state_of(output)["budget"]["iterations"] < 30:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 30 <= state_of(output)["budget"]["iterations"] < 300
    subprocess.run(arguments, env=environment(), check=True)
    training(data, tmp_path / "whole", **options).run()
    killed, whole = state_of(output), state_of(tmp_path / "whole")
    assert killed["budget"]["iterations"] == 300
    for key, value in whole["averaged"].items():
        assert torch.equal(killed["averaged"][key], value)
    logs = [rows_of(folder / "log.csv") for folder in (output, tmp_path / "whole")]
    for first, second in zip(*logs, strict=True):
        held_out = [key for key in first if key.startswith("psnr")]
        assert len(held_out) == 6
        assert all(first[key] == second[key] for key in ("iteration", *held_out))


@pytest.mark.slow
def test_a_bad_step_ends_the_command_with_one_sentence(data: Path, tmp_path: Path) -> None:
    options = write_options(data, tmp_path / "run", learning_rate=1e30, warmup_iterations=0)
    done = subprocess.run(
        command(TRAIN, args_file=options),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert str(tmp_path / "run" / "last.pt") in line


@pytest.mark.slow
def test_two_processes_train_one_network(data: Path, tmp_path: Path) -> None:
    # The minutes decide on the learning rate and the end, and every process has its own clock.
    options = write_options(data, tmp_path / "run", max_minutes=0.05, max_iterations=10**6)
    program = tmp_path / "program.py"
    program.write_text(_RANK_PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [*torchrun, str(program), str(options), str(TRAIN), str(MULTI_GPU)]
    subprocess.run(words, env=environment(), check=True, timeout=300)
    first, second = (
        torch.load(tmp_path / "run" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    done = state_of(tmp_path / "run")["budget"]["iterations"]
    assert done > 1
    assert network_from_file(tmp_path / "run" / "model.pt")

    # The documented command goes on from there.
    more = write_options(data, tmp_path / "run", max_iterations=done + 2)
    configs = f"['{TRAIN}','{MULTI_GPU}']"
    words = [*torchrun, *command(configs, args_file=more)[1:]]
    subprocess.run(words, env=environment(), check=True, timeout=300)
    assert state_of(tmp_path / "run")["budget"]["iterations"] == done + 2


@pytest.mark.slow
def test_a_prior_is_evaluated_by_one_command(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    save_prior(tiny_network(), tmp_path / "tiny.pt", dtype=torch.float16)
    output = tmp_path / "out"
    done = subprocess.run(
        command(
            EVALUATE,
            prior=tmp_path / "tiny.pt",
            val_dir=data,
            output_dir=output,
            count=3,
            size=32,
            sample_count=2,
            sample_steps=2,
        ),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (output / "prior_evaluation.txt").read_text() in done.stdout
    for name in ("prior_evaluation.csv", "prior_evaluation.json", "samples.png"):
        assert (output / name).stat().st_size > 0
    assert json.loads((output / "prior_evaluation.json").read_text())["settings"]["slices"] == 3


def test_evaluation_needs_no_sidecar(tmp_path: Path) -> None:
    save_prior(tiny_network(), tmp_path / "tiny.pt")
    (tmp_path / "tiny.json").unlink()
    workflow = ConfigWorkflow(
        config_file=str(EVALUATE),
        workflow_type="infer",
        logging_file=False,
        prior=str(tmp_path / "tiny.pt"),
        network_def={"_target_": "monai_ddfm.networks.ADMUNet", **NETWORK},
        device="cpu",
    )
    network = workflow.parser.get_parsed_content("network")
    expected = tiny_network().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
