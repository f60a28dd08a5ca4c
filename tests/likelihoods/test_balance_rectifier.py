"""The default as a whole: when the prior is run, how much it says, and how far its say reaches."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from run_cases import RecordingNet
from scipy import stats
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, EnsembleInferer, configure
from monai_ddfm.likelihoods.balance import balanced_mode
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import BalanceRectifier, EstimateRectifier
from monai_ddfm.networks.priors.loading import network_from_file
from monai_ddfm.networks.schedulers import NoiseSchedule
from monai_ddfm.utils.reports import reports_of

BUNDLE = Path(__file__).parents[2] / "bundles" / "ddfm_medical_fusion"
CLEAN = NoiseModel(0.0)


def heads(fixed: float = 0.0, moving: float = 0.0, *, side: int = 64, slices: int = 0) -> Tensor:
    """A pair of smooth heads in black with white noise; [1, 2, side, side] or a volume."""
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    tissue = torch.stack([0.3 * torch.cos(2 * x + y), 0.4 * torch.sin(x - 2 * y) - 0.1])
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(max(slices, 1), 2, side, side, generator=generator)
    noisy = tissue + noise * torch.tensor([fixed, moving])[:, None, None]
    images = torch.where(x.square() + y.square() < 0.9, noisy, -1.0).clamp(-1, 1)
    return images.movedim(0, -1)[None] if slices else images


def noted(result: Tensor) -> dict[str, Any]:
    assert isinstance(result, MetaTensor)
    noise: dict[str, Any] = reports_of(result)["noise"]
    return noise


def box(sources: Tensor) -> tuple[Tensor, Tensor]:
    return sources.amin(1, keepdim=True), sources.amax(1, keepdim=True)


def beyond(fused: Tensor, sources: Tensor) -> Tensor:
    return fused - fused.clamp(*box(sources))


def share_by_formula(level: float) -> float:
    power = max(level**2 - 0.032**2, 0)
    return max(power / (power + 0.025**2), 0.05) if power > 0 else 0.0


# --- when the prior is run


def test_the_prior_is_not_run_on_clean_sources_and_the_record_says_so() -> None:
    network, sources = RecordingNet(), heads(slices=2)
    wide = configure("default", noise_margin=2.0)
    result = DDFMInferer(preset=wide)(MetaTensor(sources), network)
    assert network.seen == []
    noise = noted(result)
    assert noise["prior"] == "not run"
    assert [noise[role]["prior_share"] for role in ("fixed", "moving")] == [0, 0]
    assert float(beyond(result[:, :1], sources).abs().max()) == 0
    assert not torch.equal(result[:, 0], sources.mean(1))


@pytest.mark.parametrize("noisy", [0, 1])
def test_the_prior_is_run_on_the_noisy_source_only(noisy: int) -> None:
    network, level = RecordingNet(), 0.15
    sources = heads(**{("fixed", "moving")[noisy]: level}, slices=1)  # type: ignore[arg-type]
    result = DDFMInferer(crop_foreground=False)(MetaTensor(sources), network)
    ((seen, timestep),) = network.seen
    power = NoiseSchedule.spaced(1000).train_alphas_cumprod[int(timestep)]
    source = sources[:, noisy, :, :, 0]
    inner = (source.abs() < 0.9)[0]
    torch.testing.assert_close(
        seen[0, 0][inner] / math.sqrt(power), source[0][inner], atol=0.12, rtol=0
    )
    noise = noted(result)
    assert noise["prior"] == "run"
    roles = ("fixed", "moving")
    assert noise[roles[1 - noisy]]["prior_share"] == 0
    found = noise[roles[noisy]]
    assert found["level"] == pytest.approx(level, rel=0.25)
    assert found["prior_share"] == pytest.approx(share_by_formula(found["level"]))
    assert found["prior_share"] > 0.9


@pytest.mark.parametrize("level", [0.0, 0.03, 0.032, 0.0325, 0.04, 0.06, 0.12, 0.5])
def test_the_share_is_that_of_the_noise(level: float) -> None:
    rectifier, noise = BalanceRectifier(), NoiseModel.white(level)
    assert rectifier.share_for(noise) == pytest.approx(share_by_formula(level))
    estimator = rectifier.estimator(noise)
    if level <= 0.032:
        assert estimator is None
        asked = rectifier.estimator(noise, always=True)
        assert asked is not None
        assert asked.share == 0.05
    else:
        assert estimator is not None
        assert estimator.share == pytest.approx(share_by_formula(level))


def test_a_share_that_is_given_forces_the_prior_and_none_forbids_it() -> None:
    network, clean = RecordingNet(), MetaTensor(heads(slices=1))
    forced = DDFMInferer(preset=configure("default", prior_share=0.4))(clean, network)
    assert len(network.seen) == 2
    noise = noted(forced)
    assert [noise[role]["prior_share"] for role in ("fixed", "moving")] == [0.4, 0.4]
    assert noise["prior"] == "run"
    network.seen.clear()
    for options in ({}, {"start_timestep": 300}, {"steps": 3}):
        inferer = DDFMInferer(preset=configure("default", prior_share=0.0), **options)
        forbidden = inferer(MetaTensor(heads(0.15, 0.15, slices=1)), network)
        assert noted(forbidden)["prior"] == "not run"
    assert network.seen == []


@pytest.mark.parametrize(
    "options", [{"timesteps": [1, 1, 1]}, {"start_timestep": 300, "steps": 10}]
)
def test_timesteps_that_are_asked_for_leave_the_share_to_the_noise(options: dict[str, Any]) -> None:
    network = RecordingNet()
    noise = noted(DDFMInferer(**options)(MetaTensor(heads(0.15, slices=1)), network))
    assert noise["fixed"]["prior_share"] == pytest.approx(share_by_formula(noise["fixed"]["level"]))
    assert noise["fixed"]["prior_share"] > 0.9
    assert noise["moving"]["prior_share"] == 0.05
    visited = [int(timestep) for _, timestep in network.seen]
    assert visited[: len(visited) // 2] == visited[len(visited) // 2 :]
    assert len(visited) == 6
    assert visited[0] >= 200


def test_seeds_of_an_ensemble_differ_on_clean_sources_too() -> None:
    network, sources = RecordingNet(), heads()
    spread = EnsembleInferer(DDFMInferer(), samples=2)(sources, network)[:, 2]
    assert len(network.seen) == 4
    assert float(spread.max()) > 0
    network.seen.clear()
    EnsembleInferer(DDFMInferer(), samples=1)(sources, network)
    assert network.seen == []


# --- the box


@pytest.mark.parametrize("margin", [0.5, 2.0])
@pytest.mark.parametrize("levels", [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2), (0.03, 0.03)])
def test_a_margin_widens_the_box_beside_measured_noise_and_not_where_both_are_black(
    margin: float, levels: tuple[float, float]
) -> None:
    generator = torch.Generator().manual_seed(0)
    sources = 2 * torch.rand(1, 2, 12, 12, generator=generator, dtype=torch.float64) - 1
    sources[..., :3] = -1
    noises = [NoiseModel.white(level) for level in levels]
    rectifier = BalanceRectifier(noise_margin=margin)
    for sign, extreme in ((-1, torch.amin), (1, torch.amax)):
        estimates = [torch.full_like(sources[:, :1], sign)] * 2
        found = rectifier.fuse(sources, estimates, noises=noises).luminance
        reach = torch.tensor([margin * math.sqrt(max(lv**2 - 0.032**2, 0)) for lv in levels])
        ends = (sources + sign * reach[:, None, None]).clamp(-1, 1)
        expected = extreme(ends, 1, keepdim=True)
        expected[..., :3] = -1
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(("steps", "unbiased"), [(1, True), (2, False)])
def test_the_bias_of_magnitudes_is_taken_off_at_the_last_step(steps: int, unbiased: bool) -> None:
    sigma, signal, residual = 0.05, 0.06, 0.04
    mean = 2 * float(stats.rice.mean(signal / sigma, scale=sigma)) - 1
    rectifier = EstimateRectifier(share=0.75, noise_model=NoiseModel(sigma**2, magnitudes=True))
    x0 = torch.full((1, 1, 8, 8), mean)
    sources = (x0 + residual).expand(1, 2, 8, 8)
    state = rectifier.initial_state(sources)
    found = rectifier.step(x0, sources, state, index=0, steps=steps).luminance
    expected = (2 * signal - 1 if unbiased else mean) + 0.25 * residual
    torch.testing.assert_close(found, torch.full_like(found, expected), atol=1e-3, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.033, 0.045, 0.055])
def test_beside_sources_without_clear_noise_the_box_is_strict(level: float) -> None:
    sources = 2 * torch.rand(1, 2, 24, 24, generator=torch.Generator().manual_seed(3)) - 1
    noises = [NoiseModel.white(level)] * 2
    free = [sources[:, 1:], sources[:, :1]]  # as far off as estimates may be
    fused = BalanceRectifier(noise_margin=3.0).fuse(sources, free, noises=noises).luminance
    assert beyond(fused, sources).abs().max() == 0


def test_by_default_the_box_is_one_deviation_wider_beside_clear_noise() -> None:
    sources = torch.zeros(1, 2, 64, 64)
    noises = [NoiseModel.white(0.0), NoiseModel.white(0.1)]
    white = [torch.full((1, 1, 64, 64), 0.9)] * 2
    fused = BalanceRectifier().fuse(sources, white, noises=noises).luminance
    assert float(fused.max()) == pytest.approx(math.sqrt(0.1**2 - 0.032**2), abs=1e-6)


def test_no_margin_keeps_every_value_between_sources_however_noisy() -> None:
    sources = heads(0.2, 0.3)
    strict, wide = (
        DDFMInferer(preset=configure("default", noise_margin=margin))(sources, RecordingNet())
        for margin in (0.0, 2.0)
    )
    assert float(beyond(strict[:, :1], sources).abs().max()) == 0
    assert float(beyond(wide[:, :1], sources).abs().max()) > 0.05
    both_black = (sources == -1).all(1, keepdim=True)
    assert bool((wide[:, :1][both_black] == -1).all())


@pytest.mark.parametrize("fidelity", [0.0, 0.3, 1.0])
def test_fidelity_mixes_with_what_the_estimates_alone_give(fidelity: float) -> None:
    sources, estimates = heads(), heads(0.3, 0.3)
    clean = estimates.split(1, dim=1)
    found = BalanceRectifier(fidelity=fidelity).fuse(sources, clean, noises=[CLEAN, CLEAN])
    free = balanced_mode(clean[1], clean[0], BalanceRectifier().balance)
    kept = free.clamp(*box(sources))
    assert float((free - kept).abs().max()) > 0.1
    torch.testing.assert_close(found.luminance, fidelity * kept + (1 - fidelity) * free)


def test_smoothing_across_slices_keeps_what_is_beyond_the_sources() -> None:
    sources, network = heads(0.2, 0.2, side=48, slices=4), RecordingNet()
    for wishes in ({"noise_margin": 2.0}, {"fidelity": 0.0, "noise_margin": 0.0}):
        preset = configure("default", **wishes)
        plain, smooth = (
            DDFMInferer(preset=preset, smooth_across=width)(sources, network)
            for width in (0.0, 1.5)
        )
        kept = beyond(plain[:, :1], sources)
        assert float(kept.abs().max()) > 0.05
        mixed = torch.lerp(sources[:, :1], sources[:, 1:], smooth[:, 1:])
        torch.testing.assert_close(smooth[:, :1], mixed + kept, atol=1e-5, rtol=0)
        assert not torch.equal(smooth[:, 1], plain[:, 1])


# --- what goes in


def test_pairs_at_once_are_pairs_one_by_one() -> None:
    pairs = torch.cat([heads(), heads(0.15), heads(0.05, 0.2)])
    together = DDFMInferer()(pairs, RecordingNet())
    alone = [DDFMInferer()(pair, RecordingNet()) for pair in pairs.split(1)]
    assert torch.equal(together, torch.cat(alone))
    volume = heads(0.1, 0.1, slices=5)
    one, several = (DDFMInferer(batch_size=size)(volume, RecordingNet()) for size in (1, 3))
    assert torch.equal(one, several)


@pytest.mark.parametrize("shape", [(1, 2, 64, 64), (1, 2, 64, 64, 1)])
def test_sources_outside_the_scale_are_refused_in_one_sentence(shape: tuple[int, ...]) -> None:
    sources = heads().reshape(shape).clone()
    for value in (1.01, -1.01, 255.0):
        sources[0, 1, 20, 20] = value
        with pytest.raises(InputError, match=r"the sources reach from .* scale them") as refused:
            DDFMInferer()(sources, RecordingNet())
        assert ". " not in str(refused.value)
    sources[0, :, 20, 20] = 1 + 5e-4
    result = DDFMInferer()(sources, RecordingNet())
    assert float(result[0, 0, 20, 20].max()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("axis", "size"), [(2, (0.5, 0.7)), (0, (0.7, 3.0))])
def test_the_pixel_size_of_a_volume_reaches_the_fusion(
    axis: int, size: tuple[float, float]
) -> None:
    volume = heads(side=40, slices=4).movedim(-1, 2 + axis)
    affine = torch.diag(torch.tensor([0.5, 0.7, 3.0, 1.0], dtype=torch.float64))
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    # A grid that is turned has the same pixels.
    affine[:3, :3] = turn @ affine[:3, :3]
    given = DDFMInferer(axis=axis)(MetaTensor(volume, affine=affine), RecordingNet())
    asked = BalanceRectifier(spacing=size)
    expected = DDFMInferer(axis=axis, rectifier=asked)(volume, RecordingNet())
    assert torch.equal(given.as_subclass(Tensor), expected)
    plain = DDFMInferer(axis=axis)(volume, RecordingNet())
    assert float((plain - expected)[:, 0].abs().max()) > 0.02


# --- what it is worth


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_noise_is_removed_better_than_by_averaging(margin: float) -> None:
    preset = configure("default", noise_margin=margin)
    level = 2 * 15 / 255
    clean, noisy = heads(), heads(level, level)
    prior = network_from_file(BUNDLE / "models" / "model.pt")
    inside = clean[:, :1] > -1
    fused = [DDFMInferer(preset=preset)(sources, prior)[:, :1] for sources in (clean, noisy)]
    averages = [sources.mean(1, keepdim=True) for sources in (clean, noisy)]
    error, of_average = (
        float((one - other)[inside].square().mean()) for one, other in (fused, averages)
    )
    assert 10 * math.log10(of_average / error) > 0


# --- options together

OPTIONS: dict[str, list[Any]] = {
    "prior_share": [None, 0.0, 0.3, 1.0],
    "fidelity": [None, 0.0, 0.5],
    "noise_margin": [2.0, 0.0, 1.0],
    "favor_moving": [None, 2.0],
    "visits": [
        {},
        {"steps": 3},
        {"speed": "best"},
        {"timesteps": [1, 1]},
        {"steps": 10, "start_timestep": 300},
        {"steps": 4, "early_stop": 0.5},
    ],
    "smooth_across": [0.0, 1.0],
    "samples": [1, 2],
}


def covering() -> list[dict[str, Any]]:
    """Few choices of a value for every option, in which every pair of values occurs."""
    choices = list(itertools.product(*[range(len(values)) for values in OPTIONS.values()]))

    def pairs(choice: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
        marked = list(enumerate(choice))
        return {(*a, *b) for a, b in itertools.combinations(marked, 2)}

    left = set().union(*map(pairs, choices))
    chosen: list[dict[str, Any]] = []
    while left:
        best = max(choices[::7] + choices[3::11], key=lambda choice: len(pairs(choice) & left))
        if not pairs(best) & left:
            best = next(choice for choice in choices if pairs(choice) & left)
        left -= pairs(best)
        named = zip(OPTIONS.items(), best, strict=True)
        chosen.append({name: values[index] for (name, values), index in named})
    return chosen


@pytest.mark.parametrize("options", covering(), ids=str)
def test_every_pair_of_options_goes_together(options: dict[str, Any]) -> None:
    names = ("prior_share", "fidelity", "noise_margin", "favor_moving")
    preset = configure("default", **{name: options[name] for name in names})
    inferer = DDFMInferer(
        preset=preset, smooth_across=options["smooth_across"], **options["visits"]
    )
    network, sources = RecordingNet(), heads(0.2, side=32, slices=2)
    result = EnsembleInferer(inferer, samples=options["samples"])(MetaTensor(sources), network)
    assert bool(result.isfinite().all())
    assert result.shape[1] == (2 if options["samples"] == 1 else 4)
    assert float(result[:, 0].abs().max()) <= 1 + 1e-6
    assert noted(result)["prior"] == ("run" if network.seen else "not run")
    assert bool(network.seen) == (options["prior_share"] != 0)
    excess = float(beyond(result[:, :1].as_subclass(Tensor), sources).abs().max())
    if options["fidelity"] is None and options["noise_margin"] == 0:
        assert excess <= 1e-6
    if options["prior_share"] == 0:
        assert excess <= 1e-6
