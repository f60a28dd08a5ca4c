"""The margin by which a fusion may leave the range between two noisy sources."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from run_cases import RecordingNet
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, EnsembleInferer, configure
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import SaliencyRectifier
from monai_ddfm.utils.reports import reports_of


def some_sources(seed: int = 0) -> Tensor:
    """Sources [1, 2, 12, 12] in [-1, 1] without any structure, both black at their left."""
    generator = torch.Generator().manual_seed(seed)
    sources = 2 * torch.rand(1, 2, 12, 12, generator=generator, dtype=torch.float64) - 1
    sources[..., :3] = -1
    return sources


def rectified(sources: Tensor, x0: float, rectifier: SaliencyRectifier) -> Tensor:
    state = rectifier.initial_state(sources)
    return rectifier.step(torch.full_like(sources[:, :1], x0), sources, state).luminance


@given(
    seed=st.integers(0, 99),
    margin=st.floats(0.1, 4),
    constant=st.floats(0, 0.02),
    slope=st.floats(0, 0.02),
)
def test_a_margin_is_in_deviations_of_the_noise(
    seed: int, margin: float, constant: float, slope: float
) -> None:
    sources = some_sources(seed)
    noise = NoiseModel(constant, slope)
    rectifier = SaliencyRectifier(prior_share=1.0, noise_margin=margin).for_noise(noise)
    texture = rectifier.texture_level / max(noise.level, rectifier.texture_level)
    for sign, end in ((-1, sources.amin(1, keepdim=True)), (1, sources.amax(1, keepdim=True))):
        deviation = 2 * (constant + slope * (end + 1) / 2).sqrt()
        expected = end + sign * margin * math.sqrt(1 - texture**2) * deviation
        expected[..., :3] = -1
        found = rectified(sources, sign, rectifier)
        torch.testing.assert_close(found, expected.clamp(-1, 1))


@pytest.mark.parametrize("level", [0.0, 0.03])
def test_without_noise_a_margin_changes_nothing(level: float) -> None:
    strict, wide = (
        SaliencyRectifier(prior_share=0.5, noise_margin=margin).for_noise(NoiseModel.white(level))
        for margin in (0.0, 2.0)
    )
    for x0 in (-1.0, 0.3, 1.0):
        expected = rectified(some_sources(), x0, strict)
        assert torch.equal(rectified(some_sources(), x0, wide), expected)


@pytest.mark.parametrize("options", [{"start_timestep": 300}, {"timesteps": [900, 500, 100]}])
def test_a_margin_for_noise_that_nobody_measures_is_refused(options: dict[str, Any]) -> None:
    preset = configure("contrast", noise_margin=2.0)
    with pytest.raises(InputError, match=r"noise margin 2 .* leave it out, or the timesteps"):
        DDFMInferer(preset=preset, **options)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("preset", ["default", "contrast"])
def test_the_measured_noise_is_noted(samples: int, preset: str) -> None:
    generator = torch.Generator().manual_seed(2)
    volume = torch.full((1, 2, 64, 64, 2), -0.2)
    volume[:, 0] += 0.1 * torch.randn(1, 64, 64, 2, generator=generator)
    inferer = EnsembleInferer(DDFMInferer(preset=preset, steps=1), samples=samples)
    result = inferer(MetaTensor(volume), RecordingNet())
    noise = reports_of(result)["noise"]
    assert noise["level"] == pytest.approx(0.1, rel=0.25)
    assert noise["at_black"] <= noise["at_white"]
    from_noise = EnsembleInferer(DDFMInferer(preset="reference", steps=1), samples=samples)
    assert "noise" not in reports_of(from_noise(MetaTensor(volume), RecordingNet()))
    assert type(inferer(volume, RecordingNet())) is Tensor
