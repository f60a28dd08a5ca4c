from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from training_makers import SCHEDULER, Oracle, head, images, save_heads, tiny_network

from monai_ddfm.errors import InputError
from monai_ddfm.training.augmentation import SliceAugmenter
from monai_ddfm.training.datasets import SliceDataset
from monai_ddfm.training.denoising import (
    AugmentedVelocityBatch,
    DenoisingInferer,
    denoise,
    noise_loss,
    timestep_of_noise,
    velocity_to_x0,
)
from monai_ddfm.training.validation import denoising_psnr, evenly_spread


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
    slices = (stored * 255).byte()
    batch = {"image": slices, "plain": slices, "pixel_mm": sizes, "detail_mm": sizes}
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
