"""Contrast and correlation figures against hand-made cases and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics import (
    average_gradient,
    correlation,
    peak_signal_to_noise_ratio,
    spatial_frequency,
    standard_deviation,
    sum_of_correlations_of_differences,
)

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(2, 24)


def noise(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 255


def test_stripes_have_the_contrast_that_theory_says() -> None:
    stripes = (torch.arange(10) % 2 * 255.0).double().expand(1, 6, 10)
    assert standard_deviation(stripes).item() == pytest.approx(127.5)
    assert spatial_frequency(stripes).item() == pytest.approx(255)
    # Central differences cannot see a period of two; the one-sided ones at both borders can.
    assert average_gradient(stripes).item() == pytest.approx(2 / 10 * 255 / math.sqrt(2))


def test_a_ramp_has_the_same_gradient_either_way() -> None:
    ramp = (3.0 * torch.arange(20)).double().expand(1, 8, 20)
    assert spatial_frequency(ramp).item() == pytest.approx(3)
    assert average_gradient(ramp).item() == pytest.approx(3 / math.sqrt(2))
    assert average_gradient(ramp + ramp.flip(2).flip(1)[:, :, :1]).item() == pytest.approx(
        3 / math.sqrt(2)
    )


def test_a_constant_has_no_contrast() -> None:
    flat = torch.full((2, 5, 5), 40.0, dtype=torch.float64)
    for metric in (standard_deviation, spatial_frequency, average_gradient):
        assert torch.equal(metric(flat), torch.zeros(2, dtype=torch.float64))


@given(SEEDS, SIDES, SIDES)
def test_contrast_against_numpy(seed: int, height: int, width: int) -> None:
    batch = noise(seed, 3, height, width)
    for number, image in enumerate(batch.numpy()):
        sf = math.sqrt(
            sum(
                (image[m, n + 1] - image[m, n]) ** 2
                for m in range(height)
                for n in range(width - 1)
            )
            / (height * (width - 1))
            + sum(
                (image[m + 1, n] - image[m, n]) ** 2
                for m in range(height - 1)
                for n in range(width)
            )
            / ((height - 1) * width)
        )
        down, across = np.gradient(image)
        ag = np.sqrt((down**2 + across**2) / 2).mean()
        assert standard_deviation(batch)[number].item() == pytest.approx(image.std(), abs=1e-9)
        assert spatial_frequency(batch)[number].item() == pytest.approx(sf, abs=1e-9)
        assert average_gradient(batch)[number].item() == pytest.approx(ag, abs=1e-9)


@pytest.mark.parametrize("metric", [spatial_frequency, average_gradient])
def test_a_single_row_is_refused(metric: object) -> None:
    with pytest.raises(InputError, match="2 x 2"):
        metric(torch.zeros(1, 1, 9))  # type: ignore[operator]


@given(SEEDS, SIDES, SIDES)
def test_correlation_figures_against_numpy(seed: int, height: int, width: int) -> None:
    fused, first, second = noise(seed, 3, 1, height, width).unbind(0)
    f, a, b = (image.numpy().ravel() for image in (fused, first, second))
    assert correlation(fused, first).item() == pytest.approx(np.corrcoef(f, a)[0, 1], abs=1e-9)
    expected = np.corrcoef(f - b, a)[0, 1] + np.corrcoef(f - a, b)[0, 1]
    found = sum_of_correlations_of_differences(fused, first, second)
    assert found.item() == pytest.approx(expected, abs=1e-9)
    mse = (np.mean((f - a) ** 2) + np.mean((f - b) ** 2)) / 2
    found = peak_signal_to_noise_ratio(fused, first, second)
    assert found.item() == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-9)


def test_the_sum_of_the_sources_has_the_best_scd() -> None:
    first, second = noise(3, 2, 1, 16, 16).unbind(0)
    found = sum_of_correlations_of_differences(first + second, first, second)
    assert found.item() == pytest.approx(2)
    assert correlation(first, 255 - first).item() == pytest.approx(-1)


def test_scd_of_a_copy_counts_nothing_for_the_other_source() -> None:
    first, second = noise(4, 2, 1, 16, 16).unbind(0)
    found = sum_of_correlations_of_differences(second, first, second)
    expected = correlation(second - first, second)
    torch.testing.assert_close(found, expected)


def test_correlation_with_a_constant_is_not_defined() -> None:
    image, flat = noise(5, 1, 8, 8), torch.full((1, 8, 8), 0.1, dtype=torch.float64)
    assert correlation(image, flat).isnan().all()
    assert sum_of_correlations_of_differences(image, image, flat).isnan().all()


def test_psnr_of_a_known_error() -> None:
    zero = torch.zeros(2, 4, 4, dtype=torch.float64)
    found = peak_signal_to_noise_ratio(zero + 10, zero, zero, peak=torch.tensor([100.0, 10.0]))
    torch.testing.assert_close(found, torch.tensor([20.0, 0.0], dtype=torch.float64))
    assert peak_signal_to_noise_ratio(zero, zero, zero).isinf().all()
