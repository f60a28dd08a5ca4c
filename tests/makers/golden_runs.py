"""A recorded run of the published method, and its network, from the reference data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import convert_guided_diffusion_state_dict


def golden_network(shared: Path) -> ADMUNet:
    folder = shared / "golden"
    stored = torch.load(folder / "adm_tiny.pt", weights_only=True)
    heads = json.loads((folder / "adm_tiny.json").read_text())["num_head_channels"]
    state, architecture = convert_guided_diffusion_state_dict(
        {key: value.float() for key, value in stored.items()}, num_head_channels=heads
    )
    network = ADMUNet(**dataclasses.asdict(architecture))
    network.load_state_dict(state)
    return network.eval()


def golden_run(shared: Path) -> dict[str, Any]:
    with np.load(shared / "golden" / "ddim_em_0.npz") as stored:
        return dict(stored)


def golden_sources(golden: dict[str, Any]) -> Tensor:
    """Fixed (the source V) and moving (the source I) of the recorded run, [1, 2, 64, 64]."""
    return torch.stack([torch.from_numpy(golden[key]) for key in "ba"])[None] / 127.5 - 1
