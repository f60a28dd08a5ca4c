from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.schedulers import DDPMScheduler
from PIL import Image
from torch import Tensor, nn
from training_makers import NETWORK, head, save_heads, tiny_network

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.training.augmentation import SliceAugmenter
from monai_ddfm.training.baselines import baselines, head_masks, psnr_inside, tuned
from monai_ddfm.training.datasets import SliceDataset
from monai_ddfm.training.denoising import (
    AugmentedVelocityBatch,
    DenoisingInferer,
    denoise,
    noise_loss,
    timestep_of_noise,
    velocity_to_x0,
)
from monai_ddfm.training.evaluation import PriorEvaluation
from monai_ddfm.training.samples import draw_samples, picture_grid
from monai_ddfm.training.validation import denoising_psnr, evenly_spread

SCHEDULER = DDPMScheduler(
    num_train_timesteps=1000,
    schedule="linear_beta",
    beta_start=1e-4,
    beta_end=2e-2,
    prediction_type="v_prediction",
)


class Oracle(nn.Module):
    """Knows the clean images, and predicts as if it did not."""

    def __init__(self, clean: Tensor, prediction_type: str, *, error: float = 0.0) -> None:
        super().__init__()
        self.clean = clean + error
        self.prediction_type = prediction_type
        self.image_channels = 1
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        lower = timesteps.floor().long().clamp(max=998)
        table = SCHEDULER.alphas_cumprod.double()
        ratios = 0.5 * ((1 - table) / table).log()
        part = timesteps.double() - lower
        ratio = (ratios[lower] * (1 - part) + ratios[lower + 1] * part).exp()
        power = (1 / (1 + ratio**2)).reshape(-1, 1, 1, 1)
        clean, noisy = self.clean.double(), x.double()
        noise = (noisy - power.sqrt() * clean) / (1 - power).sqrt()
        velocity = power.sqrt() * noise - (1 - power).sqrt() * clean
        return {"epsilon": noise, "v_prediction": velocity, "sample": clean}[
            self.prediction_type
        ].float()


def images(count: int = 4, size: int = 32) -> Tensor:
    stack = np.stack([head(size, seed=n) for n in range(count)])
    return torch.from_numpy(stack)[:, None] * 2 - 1


@given(timestep=st.integers(0, 999), seed=st.integers(0, 1000))
def test_velocity_is_inverted_exactly(timestep: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(2, 1, 8, 8, generator=generator) * 2 - 1
    noise = torch.randn(2, 1, 8, 8, generator=generator)
    times = torch.full((2,), timestep)
    noisy = SCHEDULER.add_noise(x0, noise, times)
    velocity = SCHEDULER.get_velocity(x0, noise, times)
    alpha_bar = SCHEDULER.alphas_cumprod[timestep]
    assert torch.allclose(velocity_to_x0(noisy, velocity, alpha_bar), x0, atol=2e-6)


@given(st.floats(0.0101, 150))
def test_timestep_has_the_asked_noise(sigma: float) -> None:
    power = SCHEDULER.alphas_cumprod.double()
    ratios = ((1 - power) / power).sqrt().numpy()
    timestep = timestep_of_noise(sigma, SCHEDULER.alphas_cumprod)
    low, high = math.floor(timestep), math.ceil(timestep)
    assert ratios[low] <= sigma * (1 + 1e-6)
    assert sigma <= ratios[high] * (1 + 1e-6)


def test_timestep_stays_within_the_schedule() -> None:
    assert timestep_of_noise(1e-6, SCHEDULER.alphas_cumprod) == 0
    assert timestep_of_noise(1e6, SCHEDULER.alphas_cumprod) == 999


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_a_perfect_prior_denoises_perfectly(prediction_type: str, sigma: float) -> None:
    clean = images()
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    oracle = Oracle(clean, prediction_type)
    found = denoise(oracle, noisy, sigma=sigma, alphas_cumprod=SCHEDULER.alphas_cumprod)  # type: ignore[arg-type]
    assert torch.allclose(found, clean, atol=2e-3)


def test_denoising_in_parts_changes_nothing_but_rounding() -> None:
    network = tiny_network()
    noisy = images() + 0.1
    parts = [
        denoise(network, noisy, sigma=0.1, alphas_cumprod=SCHEDULER.alphas_cumprod, batch_size=size)
        for size in (1, 3, 8)
    ]
    assert torch.allclose(parts[0], parts[1], atol=1e-5)
    assert torch.allclose(parts[0], parts[2], atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noise_loss_of_a_known_error(prediction_type: str) -> None:
    # An error e of x0 is one of e sqrt(power / (1 - power)) of the noise.
    clean = images()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    power = float(SCHEDULER.alphas_cumprod[300])
    oracle = Oracle(clean, prediction_type, error=0.1)
    found = noise_loss(oracle, clean, noise, timestep=300, alpha_bar=power)  # type: ignore[arg-type]
    assert found == pytest.approx(0.01 * power / (1 - power), rel=1e-3)


def test_held_out_psnr_equals_an_independent_computation() -> None:
    network = tiny_network(1)
    clean = images(5)
    found = denoising_psnr(network, clean, SCHEDULER, timesteps=[60, 500], seed=7)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7)).double()
    betas = np.linspace(1e-4, 2e-2, 1000)
    for timestep, psnr in found.items():
        power = np.prod(1 - betas[: timestep + 1])
        noisy = math.sqrt(power) * clean.double() + math.sqrt(1 - power) * noise
        with torch.no_grad():
            velocity = network(noisy.float(), torch.full((5,), timestep)).double()
        x0 = math.sqrt(power) * noisy - math.sqrt(1 - power) * velocity
        squares = ((x0.clamp(-1, 1) - clean.double()) ** 2).numpy()
        assert psnr == pytest.approx(10 * math.log10(4 / squares.mean()), abs=1e-3)


def test_slices_are_taken_from_all_over(tmp_path: Path) -> None:
    dataset = SliceDataset([{"folder": save_heads(tmp_path, count=9, size=16)}], canvas=16)
    everything = evenly_spread(dataset, 50)
    assert everything.shape == (9, 1, 16, 16)
    assert torch.equal(evenly_spread(dataset, 3), everything[[0, 4, 8]])
    assert everything.min() == -1
    assert everything.max() <= 1


def timesteps(focus: float, count: int = 20_000) -> Tensor:
    torch.manual_seed(0)
    prepare = AugmentedVelocityBatch(SCHEDULER, SliceAugmenter(sizes=(16,)), focus=focus)
    drawn = prepare.get_timesteps(torch.zeros(count, 1, 1, 1))
    assert drawn.shape == (count,)
    assert drawn.dtype == torch.int64
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    return drawn


def test_timesteps_are_uniform_or_focused() -> None:
    uniform, half, focused = timesteps(0.0), timesteps(0.5), timesteps(1.0)
    assert torch.histc(uniform.float(), 10, 0, 999).min() > 1800
    power = SCHEDULER.alphas_cumprod.double()
    log_sigmas = 0.5 * ((1 - power) / power).log()[focused]
    assert float(log_sigmas.mean()) == pytest.approx(-1.2, abs=0.05)
    assert float(log_sigmas.std()) == pytest.approx(1.2, abs=0.05)
    noisiest = [float((drawn > 500).float().mean()) for drawn in (uniform, half, focused)]
    assert noisiest[1] == pytest.approx((noisiest[0] + noisiest[2]) / 2, abs=0.02)


@pytest.mark.parametrize("focus", [-0.1, 1.5])
def test_a_focus_that_is_no_share_is_refused(focus: float) -> None:
    with pytest.raises(InputError, match="timestep_focus"):
        timesteps(focus)


def test_a_batch_is_what_the_network_is_trained_on() -> None:
    torch.manual_seed(0)
    prepare = AugmentedVelocityBatch(SCHEDULER, SliceAugmenter(sizes=(32,)), focus=0.5)
    stored = torch.stack([torch.from_numpy(head(64, seed=n))[None] for n in range(3)])
    sizes = torch.full((3,), 2.0)
    batch = {"image": (stored * 255).byte(), "pixel_mm": sizes, "detail_mm": sizes}
    pictures, velocity, _, options = prepare(batch, torch.device("cpu"))
    assert pictures.shape == velocity.shape == (3, 1, 32, 32)
    noise, times = options["noise"], options["timesteps"]
    noisy = SCHEDULER.add_noise(pictures, noise, times)
    alpha_bar = SCHEDULER.alphas_cumprod[times].reshape(-1, 1, 1, 1)
    assert torch.allclose(velocity_to_x0(noisy, velocity, alpha_bar), pictures, atol=1e-5)


@pytest.mark.parametrize("name", ["float16", "half", "int8"])
def test_other_precisions_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="amp_dtype"):
        DenoisingInferer(SCHEDULER, autocast_dtype=name)


def test_mixed_precision_gives_float32_close_to_full() -> None:
    network = tiny_network(2)
    clean = images(2)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([100, 600])
    with torch.no_grad():
        full, mixed = (
            DenoisingInferer(SCHEDULER, autocast_dtype=dtype)(clean, network, noise, times)
            for dtype in (None, "bfloat16")
        )
    assert mixed.dtype == torch.float32
    assert torch.allclose(full, mixed, atol=0.05)


def test_head_masks_cover_the_head_and_its_dark_parts() -> None:
    size = 96
    clean = images(3, size)[:, 0].numpy()
    masks = head_masks(clean)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for image, mask in zip(clean, masks, strict=True):
        assert mask[np.hypot(x, y) < 0.5].all()
        assert not mask[:3].any()
        assert mask[image > 0].mean() > 0.98
        assert (image[~mask] == -1).mean() > 0.98
    assert head_masks(np.full((1, 16, 16), -1, np.float32)).all()


def test_psnr_counts_the_inside_alone_and_clips() -> None:
    clean = np.zeros((2, 8, 8), np.float32)
    masks = np.zeros((2, 8, 8), bool)
    masks[:, 2:4] = True
    estimates = clean + 0.1
    estimates[:, 6] = 9
    assert psnr_inside(estimates, clean, masks) == pytest.approx([10 * math.log10(400)] * 2)
    estimates[1, 2:4] = 7
    assert psnr_inside(estimates, clean, masks)[1] == pytest.approx(10 * math.log10(4))


def test_baselines_denoise_and_their_tuning_helps() -> None:
    pytest.importorskip("skimage")
    clean = images(2, 64)[:, 0].numpy()
    masks = head_masks(clean)
    rng = np.random.default_rng(0)
    noisy = clean + 0.2 * rng.standard_normal(clean.shape).astype(np.float32)
    scores = {}
    for name, baseline in baselines().items():
        best = tuned(baseline, noisy, clean, masks, sigma=0.2)
        by_strength = [
            psnr_inside(baseline.denoise(noisy, 0.2, strength), clean, masks).mean()
            for strength in baseline.strengths
        ]
        scores[name] = psnr_inside(baseline.denoise(noisy, 0.2, best), clean, masks).mean()
        assert scores[name] == max(by_strength)
    assert scores["gaussian"] > scores["identity"] + 2
    assert scores["non_local_means"] > scores["identity"] + 2


def test_samples_are_deterministic_and_differ_by_seed() -> None:
    network = tiny_network()
    betas = SCHEDULER.betas.tolist()
    first, again, other = (
        draw_samples(network, betas, count=2, size=16, steps=4, seed=seed) for seed in (0, 0, 1)
    )
    assert first.shape == (2, 1, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.abs().max()) <= 1
    with pytest.raises(InputError, match="visited"):
        draw_samples(network, betas, steps=2000)


def test_samples_of_a_prior_that_knows_one_image_are_that_image() -> None:
    clean = images(1)
    oracle = Oracle(clean, "v_prediction")
    found = draw_samples(oracle, SCHEDULER.betas.tolist(), count=2, size=32, steps=5)  # type: ignore[arg-type]
    assert torch.allclose(found, clean.expand(2, -1, -1, -1), atol=1e-3)


def test_grid_places_pictures_in_rows() -> None:
    levels = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]).reshape(5, 1, 1, 1)
    grid = picture_grid(levels.expand(5, 1, 4, 6), columns=3, gap=1)
    assert grid.shape == (9, 20)
    assert [int(grid[0, left]) for left in (0, 7, 14)] == [0, 64, 128]
    assert [int(grid[5, left]) for left in (0, 7)] == [191, 255]
    assert picture_grid(levels.expand(5, 1, 4, 4)).shape == (10, 16)


@pytest.fixture
def held_out(tmp_path: Path) -> SliceDataset:
    return SliceDataset([{"folder": save_heads(tmp_path / "heads", count=4, size=32)}], canvas=32)


def evaluation(dataset: SliceDataset, output: Path, **options: object) -> PriorEvaluation:
    chosen = {"sigmas": (0.1, 0.5), "timesteps": (50, 500), "count": 4, "seed": 3} | options
    return PriorEvaluation(
        tiny_network(),
        dataset,
        SCHEDULER,
        output_dir=output,
        samples=4,
        sample_size=16,
        sample_steps=3,
        prior="tiny.pt",
        **chosen,  # type: ignore[arg-type]
    )


def test_evaluation_prints_one_table_and_writes_it(
    held_out: SliceDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    report = evaluation(held_out, tmp_path / "out").run()
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "prior_evaluation.txt").read_text()
    assert "research use only - not for diagnosis" in printed
    assert "seed 3" in printed
    content = json.loads((tmp_path / "out" / "prior_evaluation.json").read_text())
    with (tmp_path / "out" / "prior_evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sigma"]) for row in rows] == [0.1, 0.5]
    for row, entry, line in zip(rows, content["denoising"], report.denoising, strict=True):
        # The identity's error is the noise, but for what clipping takes off.
        assert float(row["identity"]) >= 20 * math.log10(2 / line.sigma) - 0.5
        assert float(row["prior"]) == pytest.approx(entry["psnr"]["prior"], abs=1e-3)
        best = max(line.psnr[name] for name in ("identity", "gaussian", "non_local_means"))
        assert entry["gain"] == pytest.approx(line.psnr["prior"] - best)
    assert content["loss"].keys() == {"50", "500"}
    with Image.open(tmp_path / "out" / "samples.png") as picture:
        assert picture.size == (34, 34)


def test_evaluation_is_repeatable(held_out: SliceDataset, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    first = evaluation(held_out, tmp_path, sigmas=(0.2,), timesteps=(9,)).run()
    again = evaluation(held_out, tmp_path, sigmas=(0.2,), timesteps=(9,)).run()
    other = evaluation(held_out, tmp_path, sigmas=(0.2,), timesteps=(9,), seed=4).run()
    assert first == again
    assert first.denoising != other.denoising


def test_evaluation_refuses_what_it_cannot_judge(held_out: SliceDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sigmas"):
        evaluation(held_out, tmp_path, sigmas=(0.1, -1))
    color = ADMUNet(**{**NETWORK, "in_channels": 3, "out_channels": 3})
    with pytest.raises(InputError, match="3 channels"):
        PriorEvaluation(color, held_out, SCHEDULER, output_dir=tmp_path)
