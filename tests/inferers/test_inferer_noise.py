"""The inferer's noise: from a seed, shared or one for each slice, and as normal as it should be."""

from __future__ import annotations

import itertools

import pytest
import torch
from inferer_makers import from_noise, uniform
from run_cases import RecordingNet

from monai_ddfm.inferers.noise import NoiseSource


def test_the_seed_decides(small: RecordingNet) -> None:
    pair = uniform(6, 1, 2, 16, 16)
    one, same, other = (from_noise(steps=3, seed=seed)(pair, small) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_shared_noise_keeps_equal_slices_equal(small: RecordingNet) -> None:
    volume = uniform(7, 1, 2, 16, 16, 1).repeat(1, 1, 1, 1, 3)
    shared_noise = from_noise(steps=2)(volume, small)
    assert torch.equal(shared_noise[..., 0], shared_noise[..., 2])
    own_noise = from_noise(steps=2, noise="independent")(volume, small)
    assert not torch.equal(own_noise[..., 0], own_noise[..., 2])


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_noise_belongs_to_the_slice(preset: str, small: RecordingNet) -> None:
    volume = uniform(8, 1, 2, 16, 16, 4)
    volume[..., 0, 0, :] = -1.0
    fewer = volume.clone()
    fewer[..., :2] = -1.0
    inferer = from_noise(
        preset=preset, steps=2, noise="independent", crop_foreground=False, batch_size=3
    )
    whole, part = inferer(volume, small), inferer(fewer, small)
    assert torch.equal(whole[..., 2:], part[..., 2:])
    assert not torch.equal(whole[..., :2], part[..., :2])


def test_noise_source_draws() -> None:
    cpu = torch.device("cpu")
    noise = NoiseSource(seed=3, mode="independent")
    start = noise.start([0, 5], (1, 64, 64), cpu)
    assert torch.equal(start[1:], noise.start([5], (1, 64, 64), cpu))
    draws = [*start, *noise.at_step(0, [0, 5], (1, 64, 64), cpu)]
    draws += [*noise.at_step(1, [0], (1, 64, 64), cpu)]
    draws += [*NoiseSource(seed=4, mode="independent").start([0], (1, 64, 64), cpu)]
    for one, other in itertools.combinations(draws, 2):
        assert abs(float((one * other).mean())) < 5 / 64  # uncorrelated: five standard errors
    for one in draws:
        assert abs(float(one.mean())) < 5 / 64
        assert abs(float(one.std()) - 1) < 0.06
    together = NoiseSource(seed=3).start([0, 5], (1, 8, 8), cpu)
    assert torch.equal(together[0], together[1])
