"""The inferer: published numbers, independence of batches, layouts, noise, memory and mistakes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from run_cases import RecordingNet, bundle_network
from torch import Tensor

from monai_ddfm.checkpoints import convert_guided_diffusion_state_dict
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import (
    CHOICES,
    PRESETS,
    SPEEDS,
    DDFMInferer,
    LogProgress,
    Preset,
    SamplingProgress,
    TqdmProgress,
    tailored,
)
from monai_ddfm.inferers.noise import NoiseSource
from monai_ddfm.inferers.sampling import SamplingStep
from monai_ddfm.networks import ADMUNet
from monai_ddfm.rectifiers import EMRectifier, IdentityRectifier, Rectified, SaliencyRectifier

BUNDLE = Path(__file__).parents[1] / "bundles" / "ddfm_medical_fusion"


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def head(seed: int, *shape: int) -> Tensor:
    """A volume [1, 2, H, W, D] with background around something round."""
    axes = [torch.linspace(-1.3, 1.3, side) for side in shape]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    return torch.where(radius < 1, uniform(seed, 1, 2, *shape), torch.tensor(-1.0))


FROM_NOISE = Preset(
    steps=16, solver="dpm++", rectifier=SaliencyRectifier(prior_share=0.3), speeds=SPEEDS
)


def from_noise(spacing: Any = None, **options: Any) -> DDFMInferer:
    """An inferer that samples from pure noise, as the default preset does not."""
    return DDFMInferer(spacing, **{"preset": FROM_NOISE, **options})


@pytest.fixture(scope="module")
def small() -> RecordingNet:
    return RecordingNet()


# --- the published trajectory


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
    start = torch.from_numpy(golden["x_T"])
    sampler = inferer._sampler(prior)
    network = inferer.acceleration.prepare(prior, sources.device)
    last = sampler(sources, network, slices=[0], start=start, on_step=run.append)
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


def test_a_constant_pair_does_not_depend_on_its_neighbors(small: RecordingNet) -> None:
    pairs = torch.cat((uniform(1, 1, 2, 16, 16), torch.full((1, 2, 16, 16), 0.25)))
    pairs[1, 1] = 0.75
    inferer = from_noise(steps=2)
    assert torch.equal(inferer(pairs, small)[1:], inferer(pairs[1:], small))


# --- batch sizes


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_batch_size_changes_no_bit_with_the_bundled_network(dtype: str | None) -> None:
    network, volume = bundle_network(), head(2, 40, 36, 7)
    results = [
        from_noise(steps=2, batch_size=size, autocast_dtype=dtype, noise="independent")(
            volume, network
        )
        for size in (1, 3, "auto")
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert results[0].dtype == torch.float32
    other = from_noise(steps=2, autocast_dtype=dtype, noise="independent", seed=1)
    assert not torch.equal(other(volume, network), results[0])  # the prior has a say


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("channels", [1, 3])
def test_batch_size_changes_no_bit_with_any_preset(preset: str, channels: int) -> None:
    network = RecordingNet(in_channels=channels, out_channels=2 * channels)
    volume = head(3, 18, 22, 5)
    results = [
        DDFMInferer(preset=preset, steps=4, batch_size=size)(volume, network) for size in (1, 2, 9)
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert results[0].shape == volume.shape
    assert results[0].isfinite().all()


def test_autocast_reaches_the_network(small: RecordingNet) -> None:
    pair = uniform(5, 1, 2, 16, 16)
    exact, fast = (from_noise(steps=3, autocast_dtype=d)(pair, small) for d in (None, "bfloat16"))
    assert not torch.equal(exact, fast)
    torch.testing.assert_close(exact, fast, rtol=0, atol=0.1)
    assert torch.equal(exact, from_noise(steps=3, autocast_dtype="float32")(pair, small))


# --- noise


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


# --- layouts


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_says_how_slices_follow_each_other(axis: int, small: RecordingNet) -> None:
    volume = head(9, 14, 18, 10)
    result = from_noise(steps=2, axis=axis)(volume, small)
    turned = from_noise(steps=2, axis=2)(volume.movedim(2 + axis, 4), small)
    assert torch.equal(result, turned.movedim(4, 2 + axis))
    other = from_noise(steps=2, axis=(axis + 1) % 3)(volume, small)
    assert not torch.equal(result, other)


def test_empty_slices_are_not_sent_through_the_network() -> None:
    network, volume = RecordingNet(), torch.full((1, 2, 16, 16, 9), -1.0)
    volume[..., 2] = uniform(1, 1, 2, 16, 16)
    volume[0, 1, 4:9, 3:8, 6] = 0.5  # one source is enough
    result = from_noise(steps=3)(volume, network)
    assert len(network.seen) == 2 * 3
    empty = [0, 1, 3, 4, 5, 7, 8]
    assert bool((result[:, 0, ..., empty] == -1).all())
    assert bool((result[:, 1, ..., empty] == 0.5).all())


def test_an_empty_volume_needs_no_network() -> None:
    network, volume = RecordingNet(), torch.full((1, 2, 8, 8, 3), 0.25)
    volume[:, 1] = 0.75
    result = from_noise()(volume, network)
    assert network.seen == []
    assert bool((result == 0.5).all())


def test_only_a_patch_around_the_foreground_is_sampled() -> None:
    network = RecordingNet()
    volume = torch.full((1, 2, 96, 80, 3), -1.0)
    volume[:, :, 40:52, 30:40, :] = uniform(2, 1, 2, 12, 10, 3)
    cropped = from_noise(steps=2)(volume, network)
    assert {tuple(x.shape) for x, _ in network.seen} == {(1, 1, 32, 32)}
    outside = torch.ones(96, 80, dtype=torch.bool)
    outside[30:62, 19:51] = False
    assert bool((cropped[0, 0][outside] == -1).all())
    assert bool((cropped[0, 1][outside] == 0.5).all())
    network.seen.clear()
    from_noise(steps=2, crop_foreground=False)(volume, network)
    assert {tuple(x.shape) for x, _ in network.seen} == {(1, 1, 96, 80)}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 31), (15, 17), (2, 40)])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_any_size_comes_back_as_it_was(size: tuple[int, int], preset: str) -> None:
    network = RecordingNet(patch_size=8)
    assert network.size_divisor == 16
    inferer = DDFMInferer(preset=preset, steps=2)
    pair = uniform(10, 2, 2, *size)
    for inputs in (pair, pair[..., None].expand(2, 2, *size, 2)):
        result = inferer(inputs, network)
        assert result.shape == inputs.shape
        assert result.isfinite().all()
    assert all(side % 16 == 0 for x, _ in network.seen for side in x.shape[-2:])


def test_two_volumes_equal_each_alone(small: RecordingNet) -> None:
    volumes = torch.cat((head(11, 20, 16, 5), head(12, 20, 16, 5) * 0.5))
    volumes[1, :, :8] = -1.0  # another box
    inferer = from_noise(steps=2)
    together = inferer(volumes, small)
    assert torch.equal(together, torch.cat([inferer(v[None], small) for v in volumes]))


def test_metadata_is_handed_on(small: RecordingNet) -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-90.0, -120.0, 30.0])
    meta = {"filename_or_obj": "t1.nii.gz"}
    volume = MetaTensor(head(13, 16, 16, 3), affine=affine, meta=meta)
    before = volume.clone()
    result = from_noise(steps=2)(volume, small)
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, affine)
    assert result.meta["filename_or_obj"] == "t1.nii.gz"
    assert torch.equal(volume, before)
    plain = from_noise(steps=2)(volume.as_tensor(), small)
    assert not isinstance(plain, MetaTensor)
    assert torch.equal(result.as_tensor(), plain)
    double = from_noise(steps=2)(volume.as_tensor().double(), small)
    assert double.dtype == torch.float32
    assert torch.equal(double, plain)


def test_evaluators_may_pass_more(small: RecordingNet) -> None:
    pair = uniform(1, 1, 2, 8, 8)
    inferer = from_noise(steps=1)
    assert torch.equal(inferer(pair, small, 3, mode="x"), inferer(pair, small))


# --- threads


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_threads_change_no_bit(preset: str) -> None:
    network, volume = bundle_network(), head(2, 56, 40, 7)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        inferer = DDFMInferer(preset=preset, steps=3, noise="independent")
        results.append(inferer(volume, network))
        assert torch.get_num_threads() == threads  # as it was
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_thread_ends_the_run(small: RecordingNet) -> None:
    seen: list[SamplingProgress] = []
    volume = uniform(17, 1, 2, 8, 8, 4)
    inferer = from_noise(steps=500, rectifier=Failing(after=5), progress=seen.append)
    with pytest.raises(RuntimeError, match="a bug"):
        inferer(volume, small)
    assert len(seen) < 400  # the other thread did not go on to the end
    assert torch.get_num_threads() == 2


@dataclasses.dataclass(frozen=True)
class Failing:
    """A rectifier that fails in the thread that comes first to a step."""

    after: int
    inner: EMRectifier = EMRectifier(tv=False)  # noqa: RUF009 - it is immutable
    once: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def initial_state(self, sources: Tensor) -> Any:
        return self.inner.initial_state(sources)

    def step(self, x0: Tensor, sources: Tensor, state: Any, **where: int) -> Rectified[Any]:
        if where["index"] == self.after and self.once.acquire(blocking=False):
            raise RuntimeError("a bug")
        return self.inner.step(x0, sources, state, **where)


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
    sampler = dataclasses.replace(inferer._sampler(network), tolerance=None)
    for number, one in enumerate(pair):
        trail: list[Tensor] = []
        sampler(
            one[None],
            network,
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


@pytest.mark.parametrize(
    ("options", "visited"),
    [
        ({"steps": 4}, [999, 666, 333, 0]),
        ({"spacing": "ddim4"}, [750, 500, 250, 0]),
        ({"spacing": "1,2"}, [999, 500, 0]),
        ({"spacing": [1, 2]}, [999, 500, 0]),
        ({"spacing": (1, 2), "steps": 7}, [999, 500, 0]),
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
    noise = inferer.noise.start([0], (3, 16, 16), torch.device("cpu"))
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
    noise = inferer.noise.start([0], (1, 16, 16), torch.device("cpu"))
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


# --- progress and memory


@pytest.mark.parametrize(("batch_size", "batches"), [(2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_progress_figures(batch_size: int, batches: list[int], small: RecordingNet) -> None:
    seen: list[SamplingProgress] = []
    volume = torch.cat((uniform(1, 1, 2, 8, 8, 5), torch.full((1, 2, 8, 8, 2), -1.0)), dim=-1)
    volume[..., 0, 0, :] = -1.0
    from_noise(steps=3, batch_size=batch_size, progress=seen.append)(volume, small)
    expected = [
        SamplingProgress(done, size, 5, step, 3)
        for done, size in zip(itertools.accumulate([0, *batches]), batches, strict=False)
        for step in (1, 2, 3)
    ]
    assert seen == expected


def test_progress_counts_the_steps_of_a_warm_start(small: RecordingNet) -> None:
    seen: list[SamplingProgress] = []
    pair = uniform(1, 1, 2, 8, 8)
    from_noise(steps=10, start_timestep=400, progress=seen.append)(pair, small)
    assert [(p.step, p.steps) for p in seen] == [(step, 4) for step in (1, 2, 3, 4)]


def test_a_bar_that_ends(small: RecordingNet, capsys: pytest.CaptureFixture[str]) -> None:
    inferer = from_noise(steps=2, batch_size=2, progress=TqdmProgress("mixing", disable=False))
    for _ in range(2):  # it can be used again
        inferer(uniform(1, 2, 2, 8, 8, 3), small)
    shown = capsys.readouterr().err
    assert "mixing: 100%" in shown
    assert shown.count("\n") == 4  # a bar for each volume, and every one is closed
    from_noise(steps=1, progress=TqdmProgress())(uniform(1, 1, 2, 8, 8), small)
    assert capsys.readouterr().err == ""  # there is no terminal


@dataclasses.dataclass(frozen=True)
class Cramped:
    """A rectifier that needs more memory than there is for more than a few images."""

    limit: int
    kind: str = "device"
    inner: EMRectifier = EMRectifier(tv=False)  # noqa: RUF009 - it is immutable

    def initial_state(self, sources: Tensor) -> Any:
        return self.inner.initial_state(sources)

    def step(self, x0: Tensor, sources: Tensor, state: Any, **where: int) -> Rectified[Any]:
        if len(x0) > self.limit and where["index"] == 1:
            if self.kind == "device":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            torch.empty(1 << 60, dtype=torch.uint8)  # the host's own refusal
        return self.inner.step(x0, sources, state, **where)


@pytest.mark.usefixtures("one_thread")  # more would divide the batch among them
@pytest.mark.parametrize("kind", ["device", "host"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_auto_halves_when_memory_runs_out(
    kind: str, limit: int, small: RecordingNet, caplog: pytest.LogCaptureFixture
) -> None:
    volume = head(16, 12, 14, 9)
    expected = from_noise(steps=3, batch_size=1, rectifier=Cramped(99))(volume, small)
    seen: list[SamplingProgress] = []
    inferer = from_noise(steps=3, rectifier=Cramped(limit, kind), progress=seen.append)
    assert torch.equal(inferer(volume, small), expected)
    assert "out of memory with 4 slices" in caplog.text
    finished = [p for p in seen if p.step == p.steps]
    assert max(p.slices_in_batch for p in finished) <= limit
    assert sum(p.slices_in_batch for p in finished) == seen[0].slices


@pytest.mark.usefixtures("one_thread")
def test_memory_that_cannot_be_saved_is_an_input_error(small: RecordingNet) -> None:
    volume = uniform(17, 1, 2, 8, 8, 4)
    with pytest.raises(InputError, match="not enough memory for a single slice"):
        from_noise(steps=2, rectifier=Cramped(0))(volume, small)
    with pytest.raises(InputError, match=r"not enough memory for 3 slices .*auto"):
        from_noise(steps=2, rectifier=Cramped(2), batch_size=3)(volume, small)


def test_other_errors_are_not_taken_for_memory(small: RecordingNet) -> None:
    class Broken(Cramped):
        def step(self, x0: Tensor, sources: Tensor, state: Any, **where: int) -> Rectified[Any]:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        from_noise(steps=2, rectifier=Broken(0))(uniform(17, 1, 2, 8, 8, 4), small)


# --- what holds for every result

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
        torch.cat((noise * 1e4, noise * -1e4), 1),
        torch.cat((noise * 1e-30, noise * -1e-30), 1),
    ]
    inferer = DDFMInferer(preset=preset, steps=5)
    for pair in pairs:
        result = inferer(pair, network)
        assert result.isfinite().all()
        assert bool(((result[:, 1] >= 0) & (result[:, 1] <= 1)).all())


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


# --- mistakes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "nonsense"}, "'nonsense'.*reference"),
        ({"steps": "-3"}, "'-3'"),
        ({"steps": -3}, "-3"),
        ({"steps": 0}, "0"),
        ({"steps": 2000}, "2000"),
        ({"steps": "abc"}, "'abc'"),
        ({"steps": 2.5}, "2.5"),
        ({"steps": True}, "True"),
        ({"spacing": ""}, "steps"),
        ({"spacing": []}, "steps"),
        ({"axis": 3}, "axis 3"),
        ({"axis": -1}, "axis -1"),
        ({"axis": "2"}, "axis '2'"),
        ({"axis": 1.0}, "axis 1.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": -2}, "batch size -2"),
        ({"batch_size": "many"}, "'many'.*auto"),
        ({"batch_size": 1.5}, "1.5"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "abc"}, "seed 'abc'"),
        ({"seed": 0.5}, "seed 0.5"),
        ({"noise": "loud"}, "'loud'.*shared"),
        ({"autocast_dtype": "int8"}, "'int8'.*bfloat16"),
        ({"start_timestep": -1}, "-1.*0 to 999"),
        ({"start_timestep": 1000}, "1000.*0 to 999"),
        ({"start_timestep": "500"}, "'500'"),
        ({"early_stop": -1.0}, "-1.0"),
        ({"early_stop": "soon"}, "'soon'"),
        ({"speed": "slow"}, "'slow'.*balanced"),
        ({"speed": "fast", "preset": "reference"}, "'fast'.*steps"),
        ({"compile": "quick"}, "'quick'.*graphs"),
        ({"spacing": "0,1"}, "'0,1'"),
        ({"prediction_type": "score"}, "'score'"),
        ({"betas": "square"}, "'square'"),
        ({"num_timesteps": 0}, "0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_noise(**options)


@pytest.mark.parametrize(
    "shape", [(2, 8, 8), (1, 1, 8, 8), (1, 3, 8, 8), (1, 2, 8), (1, 2, 4, 4, 4, 4), (0, 2, 8, 8)]
)
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...], small: RecordingNet) -> None:
    with pytest.raises(InputError, match=r"\[B, 2, H, W\]"):
        from_noise(steps=1)(torch.zeros(shape), small)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float, small: RecordingNet) -> None:
    pair = uniform(1, 1, 2, 8, 8, 2)
    pair[0, 1, 3, 3, 1] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        from_noise(steps=1)(pair, small)


def test_presets_are_tailored() -> None:
    ct = tailored("default", modality="ct", fidelity=0.5, favor_moving=2.0)
    assert ct.rectifier == SaliencyRectifier(
        choice=dataclasses.replace(CHOICES["CT"], favor_moving=2.0), fidelity=0.5
    )
    assert tailored("default", modality="IR").rectifier == SaliencyRectifier()
    assert tailored("reference", modality="PET") is PRESETS["reference"]
    with pytest.raises(InputError, match="fidelity belongs to the preset default"):
        tailored("paper", fidelity=0.5)


def test_a_log_tells_every_tenth_once(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("monai_ddfm.tests")
    tell = LogProgress("head", logger)
    with caplog.at_level(logging.INFO, logger=logger.name):
        for step in range(1, 41):
            tell(SamplingProgress(0, 1, 1, step, 40))
    told = [f"head: {percent} % of the sampling" for percent in range(10, 101, 10)]
    assert caplog.messages == told
