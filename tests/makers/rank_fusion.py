"""Several processes that share a volume; run by `test_sharing.py`."""

from __future__ import annotations

from pathlib import Path

import torch
from run_cases import RecordingNet
from torch import Tensor, distributed

from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.inferers.keeping import run_name


def volume() -> Tensor:
    generator = torch.Generator().manual_seed(6)
    one = torch.rand(1, 2, 52, 44, 7, generator=generator) * 2 - 1
    one[..., :9, :, :] = -1.0
    one[..., 30:, :, 5:] = -1.0  # slices of several sizes
    one[..., 3] = -1.0
    return one


def name_of_run() -> str:
    """The name under which a run's finished slices are kept."""
    settings = DDFMInferer(preset="gain", steps=3)._settings()
    return run_name(volume()[0].movedim(3, 0), RecordingNet(), settings=settings)


def be(rank: int, world: int, folder: Path) -> None:
    """Be one of the processes, and leave what it has."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world
    )
    network = RecordingNet()
    fused = DDFMInferer(steps=2, noise="independent", distributed=True)(volume(), network)
    found = {"fused": fused, "evaluations": len(network.seen), "name": name_of_run()}
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()
