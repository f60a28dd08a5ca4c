"""The inferer against a recorded run of the published method."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inferer_makers import uniform
from torch import Tensor

from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.inferers.noise import NoiseSource
from monai_ddfm.inferers.sampling import SamplingStep
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import convert_guided_diffusion_state_dict


@pytest.fixture(scope="module")
def prior(shared: Path) -> ADMUNet:
    folder = shared / "golden"
    stored = torch.load(folder / "adm_tiny.pt", weights_only=True)
    heads = json.loads((folder / "adm_tiny.json").read_text())["num_head_channels"]
    state, architecture = convert_guided_diffusion_state_dict(
        {key: value.float() for key, value in stored.items()}, num_head_channels=heads
    )
    network = ADMUNet(**dataclasses.asdict(architecture))
    network.load_state_dict(state)
    network.eval()
    return network


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    with np.load(shared / "golden" / "ddim_em_0.npz") as stored:
        return dict(stored)


def golden_sources(golden: dict[str, Any]) -> Tensor:
    """Fixed (the source V) and moving (the source I) of the recorded run, [1, 2, 64, 64]."""
    return torch.stack([torch.from_numpy(golden[key]) for key in "ba"])[None] / 127.5 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenNoise(NoiseSource):
    """Start noise from a recording."""

    given: Tensor

    def start(self, slices: Any, shape: Any, device: torch.device) -> Tensor:
        return self.given.expand(len(slices), *shape).to(device)


def golden_inferer(golden: dict[str, Any], *, steps: int = 10) -> DDFMInferer:
    inferer = DDFMInferer(preset="reference", steps=steps)
    inferer.noise = GivenNoise(given=torch.from_numpy(golden["x_T"]))
    return inferer


@pytest.mark.usefixtures("one_thread")  # as the inferer does
def test_the_published_trajectory(prior: ADMUNet, golden: dict[str, Any]) -> None:
    def off(ours: Tensor, name: str) -> Tensor:
        return (ours - torch.from_numpy(golden[name])).abs()

    assert golden["lamb"] == pytest.approx(0.5)
    assert golden["rho"] == pytest.approx(0.001)
    inferer, sources = golden_inferer(golden), golden_sources(golden)
    run: list[SamplingStep] = []
    sampler = inferer._sampler(prior, None)
    with inferer.acceleration.prepared(prior, sources.device) as network:
        last = sampler(sources, network, noise=inferer.noise, slices=[0], on_step=run.append)
    assert [step.index for step in run] == list(range(10))
    assert off(run[0].sample, "sample_first").max() < 1e-4
    # The first prediction amplifies the network's rounding 158 times; what it clips does not feel
    # it, and where it does not clip the recorded float32 run is itself 1.2e-4 from float64.
    first = off(run[0].rectified.x0, "x0_first")
    assert first.max() < 5e-4
    assert (first < 1e-4).float().mean() > 0.98
    assert off(run[5].sample, "sample_mid").max() < 1e-4
    assert off(run[5].rectified.x0, "x0_mid").max() < 1e-4
    assert off(run[9].sample, "sample_last").max() < 1e-4

    result = inferer(sources, prior)
    assert torch.equal(result[:, :1], last.luminance)
    assert torch.equal(result[:, 1:], last.weight)


def test_three_pairs_at_once_equal_one_at_a_time(prior: ADMUNet, golden: dict[str, Any]) -> None:
    first = golden_sources(golden)
    sources = torch.cat((first, first.flip(1, 2) * 0.8, uniform(4, 1, 2, 64, 64) * 0.3))
    inferer = golden_inferer(golden, steps=3)
    together = inferer(sources, prior)
    alone = torch.cat([inferer(sources[i : i + 1], prior) for i in range(3)])
    assert torch.equal(together, alone)
