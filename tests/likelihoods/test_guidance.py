"""Guidance: a denoiser and a rectifier make a denoiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from inferer_makers import uniform
from torch import Tensor

from monai_ddfm.likelihoods.guidance import Denoised, GuidedDenoiser
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import (
    BalanceRectifier,
    EMRectifier,
    IdentityRectifier,
    Likelihood,
    SaliencyRectifier,
    likelihood_of,
)

NOISES = (NoiseModel(0.0), NoiseModel(0.01))


class Halving:
    """A denoiser that needs neither network nor schedule; it works on images upside down."""

    def __call__(self, x_t: Tensor, index: int) -> Denoised:
        return Denoised(x_t / 2, output=torch.full((1,), float(index)))

    def encode(self, image: Tensor) -> Tensor:
        return image.flip(2)

    def decode(self, x0: Tensor) -> Tensor:
        return x0.flip(2)


def test_the_clean_image_is_decoded_rectified_and_encoded() -> None:
    sources, x_t = uniform(1, 2, 2, 10, 12), uniform(2, 2, 1, 10, 12)
    rectifier = EMRectifier()
    guided = GuidedDenoiser(Halving(), rectifier, sources, steps=2)
    state = rectifier.initial_state(sources)
    for index in range(2):
        told = guided(x_t, index)
        expected = rectifier.step(x_t.flip(2) / 2, sources, state, index=index, steps=2)
        state = expected.state  # is kept from call to call
        assert torch.equal(told.x0, expected.x0.flip(2))
        assert torch.equal(told.rectified.luminance, expected.luminance)
        assert torch.equal(told.rectified.weight, expected.weight)
        assert told.output is not None
        assert float(told.output) == index
    assert guided.mode is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_volume_are_rectified_as_slices(axis: int) -> None:
    sources, x_t = uniform(1, 2, 2, 7, 8, 9), uniform(2, 2, 1, 7, 8, 9)
    rectifier = SaliencyRectifier(prior_share=0.4)
    guided = GuidedDenoiser(Halving(), rectifier, sources, steps=1, axis=axis)
    told, mode = guided(x_t, 0), guided.mode
    assert mode is not None
    for number in range(sources.shape[2 + axis]):
        one = sources.select(2 + axis, number)
        state = rectifier.initial_state(one)
        x0 = (x_t.flip(2) / 2).select(2 + axis, number)
        expected = rectifier.step(x0, one, state)
        outcome = told.rectified.luminance.select(2 + axis, number)
        torch.testing.assert_close(outcome, expected.luminance, rtol=0, atol=1e-6)
        torch.testing.assert_close(mode.select(2 + axis, number), state.mode, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("rectifier", "measures", "from_sources"),
    [
        (EMRectifier(), False, False),
        (IdentityRectifier(), False, False),
        (SaliencyRectifier(), False, True),
        (BalanceRectifier(), True, True),
    ],
)
def test_likelihoods_say_what_they_need(rectifier: Any, measures: bool, from_sources: bool) -> None:
    likelihood = likelihood_of(rectifier)
    assert isinstance(likelihood, Likelihood)
    assert likelihood.measures_noise is measures
    assert likelihood.starts_from_sources is from_sources
    plan = likelihood.plan(NOISES)
    assert len(plan.runs) == (2 if measures else 1)
    assert (plan.fuse is None) is not measures
    assert (plan.shares is None) is not measures
    sources = uniform(3, 1, 2, 4, 4)
    if measures:
        for channel, run in enumerate(plan.runs):
            assert run.noise_model == NOISES[channel]
            assert torch.equal(run.sources(sources), sources[:, [channel, channel]])
        assert plan.runs[0].rectifier is None  # that source shows no noise
        assert plan.shares == (0.0, plan.runs[1].share)
    else:
        assert plan.runs[0].sources(sources) is sources
        assert plan.runs[0].noise_model == (NOISES[1] if from_sources else None)


def test_the_default_cannot_do_without_the_noise() -> None:
    with pytest.raises(ValueError, match="noise of the sources"):
        BalanceRectifier().plan(None)
