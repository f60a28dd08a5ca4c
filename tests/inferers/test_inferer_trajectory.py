"""The inferer against a recorded run of the published method."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from golden_runs import golden_sources
from inferer_makers import uniform
from torch import Tensor

from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.inferers.noise import NoiseSource
from monai_ddfm.inferers.sampling import SamplingStep
from monai_ddfm.networks import ADMUNet


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenNoise(NoiseSource):
    """Start noise from a recording."""

    given: Tensor

    def start(self, slices: Any, shape: Any, device: torch.device) -> Tensor:
        return self.given.expand(len(slices), *shape).to(device)


def golden_inferer(golden: dict[str, Any], *, steps: int = 10) -> DDFMInferer:
    inferer = DDFMInferer(preset="reference", steps=steps)
    inferer.sampling_noise = GivenNoise(given=torch.from_numpy(golden["x_T"]))
    return inferer


@pytest.mark.usefixtures("one_thread")  # as the inferer does
def test_the_published_trajectory(golden_prior: ADMUNet, golden: dict[str, Any]) -> None:
    def off(ours: Tensor, name: str) -> Tensor:
        return (ours - torch.from_numpy(golden[name])).abs()

    assert golden["lamb"] == pytest.approx(0.5)
    assert golden["rho"] == pytest.approx(0.001)
    inferer, sources = golden_inferer(golden), golden_sources(golden)
    run: list[SamplingStep] = []
    sampler = inferer._sampler(golden_prior, inferer._plan(None))
    with inferer.acceleration.prepared(golden_prior, sources.device) as network:
        last = sampler(
            sources, network, noise=inferer.sampling_noise, slices=[0], on_step=run.append
        )
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

    result = inferer(sources, golden_prior)
    assert torch.equal(result[:, :1], last.luminance)
    assert torch.equal(result[:, 1:], last.weight)


def test_three_pairs_at_once_equal_one_at_a_time(
    golden_prior: ADMUNet, golden: dict[str, Any]
) -> None:
    first = golden_sources(golden)
    sources = torch.cat((first, first.flip(1, 2) * 0.8, uniform(4, 1, 2, 64, 64) * 0.3))
    inferer = golden_inferer(golden, steps=3)
    together = inferer(sources, golden_prior)
    alone = torch.cat([inferer(sources[i : i + 1], golden_prior) for i in range(3)])
    assert torch.equal(together, alone)
