"""SSIM, MS-SSIM and VIF against other implementations and cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import MultiScaleSSIMMetric
from skimage.metrics import structural_similarity as skimage_ssim
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import visual_information_fidelity as torchmetrics_vif

from monai_ddfm.errors import InputError
from monai_ddfm.metrics import (
    multiscale_structural_similarity,
    structural_similarity,
    visual_information_fidelity,
)

SEEDS = st.integers(0, 2**32 - 1)


def smooth_noise(seed: int, *shape: int) -> Tensor:
    """Integer levels with structure at several scales and a flat black border."""
    generator = torch.Generator().manual_seed(seed)
    height, width = shape[-2:]
    total = torch.zeros(shape)
    for scale in (1, 4, 16):
        coarse = torch.rand(
            *shape[:-2], height // scale + 2, width // scale + 2, generator=generator
        )
        total += functional.interpolate(coarse, size=(height, width), mode="bilinear") * scale**0.5
    total = (total * (255 / 7)).round().clamp(0, 255)
    total[..., : height // 4, :] = 0
    return total.double()[:, 0]


def pair(seed: int, side: int = 64, width: int | None = None) -> tuple[Tensor, Tensor]:
    x = smooth_noise(seed, 2, 1, side, width or side)
    y = (0.6 * x + 0.4 * smooth_noise(seed + 1, 2, 1, side, width or side)).round()
    return x, y


@settings(max_examples=10)
@given(SEEDS, st.integers(7, 40), st.integers(7, 40), st.sampled_from([2.0, 255.0]))
def test_uniform_ssim_is_that_of_scikit_image(
    seed: int, height: int, width: int, data_range: float
) -> None:
    x, y = pair(seed, height, width)
    found = structural_similarity(x, y, data_range=data_range, window="uniform")
    for number in range(2):
        expected = skimage_ssim(x[number].numpy(), y[number].numpy(), data_range=data_range)
        assert found[number].item() == pytest.approx(expected, abs=1e-8)


@settings(max_examples=10)
@given(SEEDS, st.integers(11, 40), st.integers(11, 40))
def test_gaussian_ssim_is_that_of_scikit_image(seed: int, height: int, width: int) -> None:
    x, y = pair(seed, height, width)
    found = structural_similarity(x, y)
    for number in range(2):
        expected = skimage_ssim(
            x[number].numpy(),
            y[number].numpy(),
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert found[number].item() == pytest.approx(expected, abs=1e-8)


def test_the_evaluator_in_single_precision_gives_the_same() -> None:
    x, y = pair(11, 96)
    expected = [
        skimage_ssim(a.numpy().astype(np.float32), b.numpy().astype(np.float32), data_range=2)
        for a, b in zip(x, y, strict=True)
    ]
    found = structural_similarity(x, y, data_range=2, window="uniform")
    # Its variances are good to a few thousandths of a squared level, as large as its constants.
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("window", ["uniform", "gaussian"])
def test_ssim_of_identical_and_inverted_images(window: str) -> None:
    x = smooth_noise(1, 1, 1, 32, 32)
    one = structural_similarity(x, x, window=window)  # type: ignore[arg-type]
    assert one.item() == pytest.approx(1, abs=1e-12)
    assert structural_similarity(x, 255 - x, window=window).item() < 0  # type: ignore[arg-type]


def test_ssim_of_constants_is_the_luminance_term() -> None:
    x, y = (torch.full((1, 20, 20), value, dtype=torch.float64) for value in (100.0, 50.0))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 50 + c1) / (100**2 + 50**2 + c1)
    assert structural_similarity(x, y).item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(176, 176), (201, 187)])
def test_ms_ssim_is_that_of_monai(shape: tuple[int, int]) -> None:
    x, y = pair(2, *shape)
    reference = MultiScaleSSIMMetric(spatial_dims=2, data_range=255.0)
    expected = reference(x.float().unsqueeze(1), y.float().unsqueeze(1))[:, 0]
    found = multiscale_structural_similarity(x, y).float()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_ms_ssim_with_fewer_scales() -> None:
    x, y = pair(3, 21)
    # One scale fits into 21 pixels; the sum of all exponents falls to it.
    similarity = structural_similarity(x, y)
    torch.testing.assert_close(multiscale_structural_similarity(x, y), similarity**1.0001)
    assert multiscale_structural_similarity(x, 255 - x).eq(0).all()
    assert multiscale_structural_similarity(x, x).allclose(torch.ones(2, dtype=torch.float64))


@settings(max_examples=8)
@given(SEEDS, st.integers(41, 70), st.integers(41, 70))
def test_vif_is_that_of_torchmetrics(seed: int, height: int, width: int) -> None:
    x, y = pair(seed, height, width)
    for reference, distorted in ((x, y), (y, x)):
        expected = torchmetrics_vif(
            preds=distorted.unsqueeze(1), target=reference.unsqueeze(1), reduction="none"
        )
        torch.testing.assert_close(
            visual_information_fidelity(reference, distorted), expected, atol=1e-8, rtol=0
        )


def test_vif_of_known_cases() -> None:
    x = smooth_noise(4, 1, 1, 64, 64)
    flat = torch.full_like(x, 50)
    assert visual_information_fidelity(x, x).item() == pytest.approx(1, abs=1e-6)
    assert visual_information_fidelity(x, flat).item() == pytest.approx(0, abs=1e-9)
    assert visual_information_fidelity(x, 255 - x).item() == pytest.approx(0, abs=1e-3)
    assert visual_information_fidelity(x, 1.5 * x).item() > 1.05
    assert visual_information_fidelity(flat, x).item() == 1


def test_vif_falls_with_noise() -> None:
    x = smooth_noise(5, 1, 1, 64, 64)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    found = [visual_information_fidelity(x, x + sigma * noise).item() for sigma in (1, 4, 16)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("metric", "side"),
    [
        (structural_similarity, 10),
        (multiscale_structural_similarity, 10),
        (visual_information_fidelity, 40),
    ],
)
def test_images_below_the_window_are_refused(metric: object, side: int) -> None:
    small = torch.zeros(1, 64, side, dtype=torch.float64)
    with pytest.raises(InputError, match="at least"):
        metric(small, small)  # type: ignore[operator]


def test_ssim_inside_a_mask_is_the_mean_of_those_windows() -> None:
    generator = torch.Generator().manual_seed(5)
    x, y = (255 * torch.rand(2, 20, 24, generator=generator).double() for _ in range(2))
    mask = torch.zeros(2, 20, 24, dtype=torch.bool)
    mask[0, :12, 3:17] = True
    _, values = skimage_ssim(
        x[0].numpy(),
        y[0].numpy(),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    found = structural_similarity(x, y, mask=mask)
    # Windows of 11 x 11 lie wholly in the image only from the sixth row and column on.
    assert float(found[0]) == pytest.approx(values[5:12, 5:17].mean(), abs=1e-9)
    assert bool(found[1].isnan())
