"""The steps that the inferer visits, where it begins, and when it stops early."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from inferer_makers import from_noise, head, uniform
from run_cases import RecordingNet
from torch import Tensor

from monai_ddfm.inferers import DDFMInferer, SamplingProgress
from monai_ddfm.networks import ADMUNet

# --- early stop


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_an_early_stop_changes_little_and_saves_evaluations(batch_size: Any) -> None:
    volume = head(21, 24, 20, 4)
    network = RecordingNet()
    every = from_noise(steps=40)(volume, network)
    whole = len(network.seen)
    network.seen.clear()
    seen: list[SamplingProgress] = []
    inferer = from_noise(steps=40, early_stop=0.15, batch_size=batch_size, progress=seen.append)
    early = inferer(volume, network)
    assert len(network.seen) < whole
    assert seen[-1].step == seen[-1].steps  # a bar comes to its end
    alone = from_noise(steps=40, early_stop=0.15, batch_size=1)(volume, network)
    assert torch.equal(early, alone)
    assert not torch.equal(early, every)
    assert bool((early[:, :1] >= volume.amin(1, keepdim=True) - 1e-6).all())
    assert bool((early[:, :1] <= volume.amax(1, keepdim=True) + 1e-6).all())


def test_an_early_stop_ends_on_the_first_small_change() -> None:
    pair, network = uniform(14, 2, 2, 16, 16), RecordingNet()
    inferer = from_noise(steps=30, early_stop=0.07, crop_foreground=False)
    fusion = inferer._sampler(network, inferer._plan(None))
    assert fusion.samplers[0] is not None
    patient = dataclasses.replace(fusion.samplers[0], tolerance=None)
    sampler = dataclasses.replace(fusion, samplers=(patient,))
    for number, one in enumerate(pair):
        trail: list[Tensor] = []
        sampler(
            one[None],
            network,
            noise=inferer.sampling_noise,
            slices=[number],
            on_step=lambda step, trail=trail: trail.append(step.rectified.luminance),  # type: ignore[misc]
        )
        changes = [float((b - a).abs().max()) for a, b in itertools.pairwise(trail)]
        settled = next(i for i, change in enumerate(changes) if i >= 14 and change <= 0.07)
        assert settled < len(changes) - 1
        torch.testing.assert_close(
            inferer(pair, network)[number, :1], trail[settled + 1][0], rtol=0, atol=1e-5
        )


# --- steps and where they begin


def test_spacing_is_the_former_name_of_timesteps() -> None:
    with pytest.warns(DeprecationWarning, match="timesteps"):
        former = DDFMInferer(spacing="ddim4")
    assert repr(former) == repr(DDFMInferer(timesteps="ddim4"))


@pytest.mark.parametrize(
    ("options", "visited"),
    [
        ({"steps": 4}, [999, 666, 333, 0]),
        ({"timesteps": "ddim4"}, [750, 500, 250, 0]),
        ({"timesteps": "1,2"}, [999, 500, 0]),
        ({"timesteps": [1, 2]}, [999, 500, 0]),
        ({"timesteps": (1, 2), "steps": 7}, [999, 500, 0]),
        ({"steps": 3, "num_timesteps": 50, "betas": "cosine"}, [49, 24, 0]),
        ({"steps": 4, "start_timestep": 666}, [666, 333, 0]),
        ({"steps": 4, "start_timestep": 665}, [333, 0]),
        ({"steps": 4, "start_timestep": 0}, [0]),
    ],
)
def test_timesteps_visited(options: dict[str, Any], visited: list[int]) -> None:
    network = RecordingNet()
    from_noise(**options)(uniform(1, 1, 2, 8, 8), network)
    assert [int(timesteps) for _, timesteps in network.seen] == visited


@pytest.mark.parametrize("start", [999, 500, 100])
def test_a_warm_start_is_the_noised_average(start: int) -> None:
    network, pair = RecordingNet(in_channels=3, out_channels=6), uniform(14, 1, 2, 16, 16)
    inferer = from_noise(steps=1000, start_timestep=start, seed=5)
    with pytest.raises(StopIteration):
        stop_after_one_step(inferer, pair, network)
    power = float(np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[: start + 1]))
    noise = inferer.sampling_noise.start([0], (3, 16, 16), torch.device("cpu"))
    expected = math.sqrt(power) * pair.mean(1, keepdim=True) + math.sqrt(1 - power) * noise
    torch.testing.assert_close(network.seen[0][0], expected, rtol=0, atol=1e-5)
    assert int(network.seen[0][1]) == start


def stop_after_one_step(inferer: DDFMInferer, pair: Tensor, network: ADMUNet) -> None:
    def stop(_: SamplingProgress) -> None:
        raise StopIteration

    inferer.progress = stop
    inferer(pair, network)


def test_a_cold_start_is_noise_alone() -> None:
    network, pair = RecordingNet(), uniform(14, 1, 2, 16, 16)
    inferer = from_noise(steps=2, seed=5)
    inferer(pair, network)
    noise = inferer.sampling_noise.start([0], (1, 16, 16), torch.device("cpu"))
    assert torch.equal(network.seen[0][0], noise)


def test_the_network_says_what_it_predicts() -> None:
    pair = uniform(15, 1, 2, 16, 16)
    results = {}
    for kind in ("epsilon", "v_prediction", "sample"):
        network = RecordingNet(prediction_type=kind)
        results[kind] = from_noise(steps=3)(pair, network)
        told = from_noise(steps=3, prediction_type=kind)(pair, RecordingNet())
        assert torch.equal(results[kind], told)
    for one, other in itertools.combinations(results.values(), 2):
        assert not torch.equal(one, other)
