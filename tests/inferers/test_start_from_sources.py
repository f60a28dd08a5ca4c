"""Sampling that starts from the sources: where it begins, and what noise the prior sees."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from run_cases import RecordingNet
from torch import Tensor

from monai_ddfm.data.writers import excess_over_sources
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, configure, sampling
from monai_ddfm.inferers.presets import preset_named
from monai_ddfm.inferers.sampling import with_noise_of
from monai_ddfm.likelihoods.noise_model import noise_model
from monai_ddfm.likelihoods.rectifiers import EMRectifier, SaliencyRectifier
from monai_ddfm.networks.priors.loading import network_from_file
from monai_ddfm.networks.schedulers import NoiseSchedule

BUNDLE = Path(__file__).parents[2] / "bundles" / "ddfm_medical_fusion"


def noisy_head(level: float, *, count: int = 1) -> Tensor:
    """Pairs [count, 2, 64, 64] of a smooth disc with white noise, and next to nothing."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    disc = torch.where(x.square() + y.square() < 0.9, 0.3 * torch.cos(x + y), -1.0)
    generator = torch.Generator().manual_seed(3)
    noise = level * torch.randn(count, 1, 64, 64, generator=generator)
    fixed = torch.where(disc > -1, disc + noise, -1.0).clamp(-1, 1)
    return torch.cat([fixed, torch.full_like(fixed, -0.9)], dim=1)


def visited(net: RecordingNet) -> list[int]:
    return [int(timestep) for _, timestep in net.seen]


@pytest.mark.parametrize(("level", "expected"), [(0.05, 11), (0.12, 33), (0.2, 57)])
def test_sampling_starts_at_the_noise_of_the_sources(level: float, expected: int) -> None:
    net = RecordingNet()
    DDFMInferer(steps=3)(noisy_head(level), net)
    first, *_, last = visited(net)
    assert first == pytest.approx(expected, abs=0.08 * expected + 2)
    assert len(visited(net)) == 3
    process = NoiseSchedule.spaced(1000).train_alphas_cumprod
    ratio = [math.sqrt((1 - process[t]) / process[t]) for t in (first, last)]
    assert ratio[0] / ratio[1] == pytest.approx(2, rel=0.1)


def test_a_prior_that_removes_nothing_leaves_the_mode() -> None:
    class Nothing(RecordingNet):
        def forward(self, x: Tensor, timesteps: Tensor, context: Any = None) -> Tensor:
            power = NoiseSchedule.spaced(1000).train_alphas_cumprod[int(timesteps[0])]
            return x / math.sqrt(power)

    sources = noisy_head(0.1)
    rectifier = SaliencyRectifier(prior_share=1.0)
    state = rectifier.initial_state(sources)
    noise = max(
        (noise_model(source) for source in sources.split(1, dim=1)), key=lambda model: model.level
    )
    expected = noise.unclip(state.mode).clamp(state.lower, state.upper)
    result = DDFMInferer(steps=1, rectifier=rectifier)(sources, Nothing(prediction_type="sample"))
    result = result[:, :1]
    tissue = state.mode > -0.99
    torch.testing.assert_close(result[tissue], expected[tissue], atol=1e-5, rtol=0)
    assert bool(((result >= state.lower) & (result <= state.upper)).all())
    inner = state.mode.abs() < 0.5
    torch.testing.assert_close(result[inner], state.mode[inner], atol=2e-3, rtol=0)


@pytest.mark.parametrize("excess", [1.0, 1.5])
def test_the_prior_sees_noise_where_the_sources_end(excess: float) -> None:
    sources = noisy_head(0.1)
    sources[:, :, 28:36, 28:36] = 1.0
    sources[:, 1][sources[:, 0] == -1] = -1.0
    net = RecordingNet()
    preset = dataclasses.replace(PRESETS["default"], excess=excess)
    result = DDFMInferer(preset=preset, steps=1)(sources, net)
    (seen, timestep), *others = net.seen
    # With noise added even the source without noise is shown, at next to none.
    assert [int(other) for _, other in others] == ([] if excess == 1 else [0])
    power = NoiseSchedule.spaced(1000).train_alphas_cumprod[int(timestep)]
    seen = seen / math.sqrt(power)
    level = math.sqrt((1 - power) / power)
    black, white = seen[sources[:, :1] == -1] + 1, seen[:, :, 28:36, 28:36] - 1
    assert float(black.mean()) == pytest.approx(0, abs=0.1 * level)
    assert float(black.std()) == pytest.approx(level, rel=0.15)
    assert bool((white >= 0).all())
    assert float(white.square().mean().sqrt()) == pytest.approx(level, rel=0.3)
    assert bool((result[:, :1][sources[:, :1] == -1] == -1).all())


@given(seed=st.integers(0, 1000), excess=st.floats(1, 4), level=st.floats(0, 0.5))
def test_noise_is_drawn_anew_at_the_ends_only(seed: int, excess: float, level: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mode = (4 * torch.rand(2, 1, 12, 12, generator=generator) - 2).clamp(-1, 1).double()
    noise = torch.randn(mode.shape, generator=generator).double()
    added = with_noise_of(mode, noise, level=level, excess=excess) - mode
    inner = mode.abs() < 0.99
    rest = level * math.sqrt(excess**2 - 1)
    torch.testing.assert_close(added[inner], rest * noise[inner])
    torch.testing.assert_close(added[mode == -1], level * excess * noise[mode == -1])
    torch.testing.assert_close(added[mode == 1], level * excess * noise[mode == 1].abs())


def counts_and_truth() -> tuple[Tensor, Tensor]:
    """Two noisy counts of one head, [1, 2, H, W] in [-1, 1], and the head itself in [0, 1]."""
    clean = (noisy_head(0.0)[:, :1].repeat(1, 1, 2, 2) + 1) / 2
    generator = torch.Generator().manual_seed(4)
    counts = [torch.poisson(clean * 60, generator=generator) / 60 for _ in range(2)]
    return (2 * torch.cat(counts, dim=1) - 1).clamp(-1, 1), clean


def test_counts_are_removed_better_where_the_empty_background_gets_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, clean = counts_and_truth()
    prior = network_from_file(BUNDLE / "models" / "model.pt")
    preset = configure("default", modality="CT", fidelity=0.0)

    def error() -> float:
        fused = (DDFMInferer(preset=preset)(pair, prior)[:, :1] + 1) / 2
        return float((fused - clean)[clean > 0].std())

    with_noise = error()
    monkeypatch.setattr(sampling, "with_noise_of", lambda mode, *_, **__: mode)
    assert with_noise < 0.97 * error()


def test_a_margin_for_noise_lets_the_prior_remove_it() -> None:
    pair, clean = counts_and_truth()
    prior = network_from_file(BUNDLE / "models" / "model.pt")
    errors, excesses = [], []
    for margin in (0.0, 2.0):
        preset = configure("default", modality="CT", noise_margin=margin)
        fused = DDFMInferer(preset=preset)(pair, prior)[:, :1]
        errors.append(float(((fused + 1) / 2 - clean)[clean > 0].std()))
        excesses.append(excess_over_sources(fused[0], pair[0])["largest"])
        assert bool((fused[clean == 0] == -1).all())
    assert errors[1] < 0.7 * errors[0]
    assert excesses[0] < 1e-6 < excesses[1]


def test_every_second_step_is_shown_mirrored() -> None:
    class Pointwise(RecordingNet):
        def forward(self, x: Tensor, timesteps: Tensor, context: Any = None) -> Tensor:
            super().forward(x, timesteps, context)
            return 0.3 * x

    sources = noisy_head(0.1)
    seen = []
    for mirror in (False, True):
        net = Pointwise()
        preset = dataclasses.replace(preset_named("default"), mirror=mirror)
        DDFMInferer(preset=preset, steps=3)(sources, net)
        seen.append([image for image, _ in net.seen])
    for index, (plain, turned) in enumerate(zip(*seen, strict=True)):
        torch.testing.assert_close(turned.flip(-1) if index == 1 else turned, plain)


def test_images_have_each_their_own_start_and_volumes_one() -> None:
    pairs = torch.cat([noisy_head(0.05), noisy_head(0.15)])
    net = RecordingNet()
    together = DDFMInferer()(pairs, net)
    assert visited(net)[0] < visited(net)[1]
    assert len(visited(net)) == 2
    alone = torch.cat([DDFMInferer()(pair, RecordingNet()) for pair in pairs.split(1)])
    assert torch.equal(together, alone)
    net = RecordingNet()
    DDFMInferer()(pairs.movedim(0, -1)[None], net)
    assert len(visited(net)) == 2
    assert len(set(visited(net))) == 1
    net = RecordingNet()
    DDFMInferer(preset="contrast")(pairs.movedim(0, -1)[None], net)
    assert len(set(visited(net))) == 2


def test_an_excess_adds_noise_that_seeds_change() -> None:
    preset = dataclasses.replace(PRESETS["default"], excess=2.0)
    sources, results = noisy_head(0.1), []
    for seed in (0, 1):
        net = RecordingNet()
        results.append(DDFMInferer(preset=preset, seed=seed, steps=1)(sources, net))
        assert visited(net)[0] == pytest.approx(57, abs=6)
        assert visited(net)[1:] == [0]
    assert not torch.equal(*results)
    preset = dataclasses.replace(PRESETS["contrast"], excess=2.0)
    for seed in (0, 1):
        net = RecordingNet()
        results[seed] = DDFMInferer(preset=preset, seed=seed, steps=1)(sources, net)
        assert visited(net) == pytest.approx([57], abs=6)
    assert not torch.equal(*results)


def test_steps_from_noise_need_a_rectifier_that_starts_there() -> None:
    with pytest.raises(InputError, match="EMRectifier cannot start from the sources"):
        DDFMInferer(rectifier=EMRectifier())
    net = RecordingNet()
    DDFMInferer(rectifier=EMRectifier(), steps=3)(noisy_head(0.1), net)
    assert visited(net)[0] == 999
    with pytest.raises(InputError, match="whole number"):
        DDFMInferer(preset=dataclasses.replace(PRESETS["default"], steps="ddim25"))
