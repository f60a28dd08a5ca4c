"""Weights by diffusion information gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.rectifiers import InformationGainRectifier


def images(*, seed: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 2, 21, 26, generator=generator, dtype=torch.float64) * 2 - 1


def test_the_weights_equal_an_independent_computation() -> None:
    sources, rectifier = images(seed=0, batch=1), InformationGainRectifier(window=1)
    fixed, moving = sources[0].numpy()
    state, advantage, before = rectifier.initial_state(sources), 0.0, None
    for seed in (1, 2, 3):
        x0 = images(seed=seed, batch=1)[:, :1]
        result = rectifier.step(x0, sources, state)
        state = result.state
        estimate = x0[0, 0].numpy()
        distances = np.stack([(estimate - moving) ** 2, (estimate - fixed) ** 2])
        if before is not None:
            gain = before - distances
            for _ in range(2):
                gain = ndimage.uniform_filter(gain, (0, 3, 3), mode="nearest")
            advantage = advantage + gain[0] - gain[1]
            odds = 2 * advantage / np.sqrt((advantage**2).mean())
        else:
            odds = np.zeros_like(fixed)
        before = distances
        share = 1 / (1 + np.exp(-odds))
        expected = fixed + share * (moving - fixed)
        np.testing.assert_allclose(result.luminance[0, 0], expected, atol=1e-10)


def test_the_source_that_the_steps_approach_gets_the_weight() -> None:
    fixed, moving = torch.full((1, 1, 16, 16), -0.5), torch.full((1, 1, 16, 16), 0.5)
    sources = torch.cat([fixed, moving], dim=1)
    rectifier = InformationGainRectifier()
    state = rectifier.initial_state(sources)
    first = rectifier.step(torch.zeros_like(fixed), sources, state)
    assert torch.allclose(first.weight, torch.tensor(0.5))
    towards = rectifier.step(torch.full_like(fixed, 0.3), sources, first.state)
    assert (towards.weight > 0.8).all()
    away = rectifier.step(torch.full_like(fixed, -0.3), sources, first.state)
    assert (away.weight < 0.2).all()


def test_a_batch_equals_its_members_and_stays_between_the_sources() -> None:
    sources = images(seed=5, batch=3).float()
    rectifier = InformationGainRectifier()
    state = rectifier.initial_state(sources)
    alone = [rectifier.initial_state(one) for one in sources.split(1)]
    for seed in (6, 7):
        x0 = images(seed=seed, batch=3)[:, :1].float()
        result = rectifier.step(x0, sources, state)
        state = result.state
        for number, (one, estimate) in enumerate(zip(sources.split(1), x0.split(1), strict=True)):
            single = rectifier.step(estimate, one, alone[number])
            alone[number] = single.state
            assert torch.equal(single.luminance[0], result.luminance[number])
    low, high = sources.amin(1, keepdim=True), sources.amax(1, keepdim=True)
    assert ((result.luminance >= low) & (result.luminance <= high)).all()


@pytest.mark.parametrize("options", [{"window": -1}, {"temperature": -1.0}])
def test_parameters_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        InformationGainRectifier(**options)
