"""What holds for every result of the inferer: nothing invented, nothing NaN."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inferer_makers import FROM_NOISE, from_noise, uniform
from run_cases import RecordingNet

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, Preset
from monai_ddfm.likelihoods.rectifiers import EMRectifier, IdentityRectifier

SOLVERS = ("ddim", "ddpm", "dpm++")


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    solver=st.sampled_from(SOLVERS),
    variant=st.sampled_from(["reference", "paper"]),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    scale=st.sampled_from([1.0, 0.1, 1e-5, 0.0]),
    steps=st.integers(1, 4),
)
def test_without_tv_nothing_is_invented(
    seed: int, solver: Any, variant: Any, size: tuple[int, int], scale: float, steps: int
) -> None:
    pair = uniform(seed, 1, 2, *size) * scale + float(uniform(seed + 1, 1)) * (1 - scale)
    rectifier = EMRectifier(variant=variant, tv=False)
    preset = Preset(steps=steps, solver=solver, rectifier=rectifier, eta=0.5)
    result = DDFMInferer(preset=preset, seed=seed)(pair, RecordingNet())
    fused, weight = result[:, :1], result[:, 1:]
    assert bool((fused >= pair.amin(1, keepdim=True) - 1e-6).all())
    assert bool((fused <= pair.amax(1, keepdim=True) + 1e-6).all())
    assert bool(((weight >= 0) & (weight <= 1)).all())
    mixed = torch.lerp(pair[:, :1], pair[:, 1:], weight)
    torch.testing.assert_close(fused, mixed, rtol=0, atol=2e-4)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("channels", [1, 3])
def test_no_nan_comes_of_odd_sources(preset: str, channels: int) -> None:
    network = RecordingNet(in_channels=channels, out_channels=channels)
    noise = uniform(18, 1, 1, 16, 16)
    checkers = torch.ones(16, 16)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    pairs = [
        torch.cat((noise, noise), 1),
        torch.stack((checkers, -checkers))[None],
        torch.cat((noise, torch.full_like(noise, -1)), 1),
        torch.stack((torch.full((16, 16), -1.0), torch.full((16, 16), 1.0)))[None],
        torch.cat((noise * 1e4, noise * -1e4), 1).clamp(-1, 1),
        torch.cat((noise * 1e-30, noise * -1e-30), 1),
    ]
    inferer = DDFMInferer(preset=preset, steps=5)
    for pair in pairs:
        result = inferer(pair, network)
        assert result.isfinite().all()
        assert bool(((result[:, 1] >= 0) & (result[:, 1] <= 1)).all())
    with pytest.raises(InputError, match=r"sources reach from .* scale them to -1\.\.1 first"):
        inferer(torch.cat((noise * 1e4, noise * -1e4), 1), network)


def test_equal_sources_are_their_own_fusion(small: RecordingNet) -> None:
    one = uniform(19, 1, 1, 16, 16)
    fused = from_noise(steps=4)(one.expand(1, 2, 16, 16), small)[:, :1]
    torch.testing.assert_close(fused, one, rtol=0, atol=1e-6)


def test_a_rectifier_of_ones_own(small: RecordingNet) -> None:
    pair = uniform(20, 1, 2, 16, 16)
    alone = from_noise(steps=3, rectifier=IdentityRectifier())(pair, small)
    other = from_noise(steps=3, rectifier=IdentityRectifier())(-pair, small)
    assert torch.equal(alone[:, 0], other[:, 0])  # the prior alone knows no sources
    assert not torch.equal(alone[:, 0], from_noise(steps=3)(pair, small)[:, 0])
    preset = dataclasses.replace(FROM_NOISE, steps=3, rectifier=IdentityRectifier())
    assert torch.equal(alone, DDFMInferer(preset=preset)(pair, small))
