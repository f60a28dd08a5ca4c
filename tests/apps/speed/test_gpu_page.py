"""The command that measures a GPU: what it writes, and what it says where there is none."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_runs import Ended, LoadedProcess, Run, script

REPO = Path(__file__).resolve().parents[3]
SCRIPT = REPO / ".ci" / "gpu"


@pytest.fixture
def gpu(loaded: LoadedProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """Call the command, from the repository."""

    def call(*arguments: object) -> Ended:
        words = (str(SCRIPT), *map(str, arguments))
        run = Run(script, words, REPO, {"PYTHONPATH": str(REPO)})
        (ended,) = loaded.run([run], said=tmp_path_factory.mktemp("said"))
        return ended

    return call


def measured(**rows: float) -> dict[str, Any]:
    """What the bench gives, with seconds by way."""
    plain = rows["plain loop, float32"]
    return {
        "command": "monai-ddfm benchmark-speed --size 256",
        "when": "2026-01-02T03:04:05+00:00",
        "version": "1.2.3",
        "machine": {
            **{"processor": "one CPU", "threads": 2, "device": "one GPU", "torch": "9.9"},
            **{"cuda": "13.0", "python": "3.13", "system": "Linux"},
        },
        "volume": [2, 256, 256, 16],
        "steps": 16,
        "peaks": {"float32": 1e12},
        "network": {"parameters": 1_000_000, "costs": []},
        "rows": [
            {"way": way, "seconds": seconds, "times plain": plain / seconds}
            | {"largest difference from plain": 1.5e-5 if "same" in way else None}
            for way, seconds in rows.items()
        ],
    }


def test_the_page_says_where_and_when_and_compares_with_the_plain_loop() -> None:
    page = runpy.run_path(str(SCRIPT))["gpu_page"]
    rows = {"plain loop, float32": 8.0, "same frame, float32": 4.0, "fast, float32": 0.5}
    text = page({"Heads": measured(**rows)}, tests="5 passed in 1.00s")
    assert "on 2026-01-02: one GPU, one CPU, PyTorch 9.9, CUDA 13.0" in text
    assert "Tests that are marked `gpu`: 5 passed in 1.00s." in text
    assert "monai-ddfm benchmark-speed --size 256" in text
    assert "takes 0.50 of the plain loop's time" in text
    assert "differs by more than 1.5e-05" in text
    assert "`fast, float32`: 16.0 times as fast" in text
    assert "| same frame, float32 | 4.00 |" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_written(gpu: Callable[..., Ended], tmp_path: Path) -> None:
    done = gpu(tmp_path / "gpu.md")
    assert done.status == 1
    assert done.stderr == (
        "error: PyTorch finds no GPU here; run this on a machine that has one.\n"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_whole_way_is_gone_on_a_cpu_into_another_file(
    gpu: Callable[..., Ended], tmp_path: Path
) -> None:
    page = tmp_path / "cpu.md"
    done = gpu(page, "--device", "cpu", "--quick")
    assert done.status == 0, done.stderr
    text = page.read_text()
    assert "tests collected" in text
    assert (
        'monai-ddfm benchmark-speed --size 64 --slices 2 --steps 2 --parts "" --device cpu' in text
    )
    assert "| plain loop, float32 |" in text
    refused = gpu("--device", "cpu")
    assert refused.status == 1
    assert "name another" in refused.stderr
