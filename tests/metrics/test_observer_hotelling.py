"""d' of the observer against closed forms in white and in correlated noise, computed in NumPy."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import (
    Channels,
    area_under_curve,
    channel_outputs,
    detectability,
    resampled,
    templates,
)

pytestmark = pytest.mark.usefixtures("one_thread_throughout")

SIDE = 64
MIDDLE = torch.tensor([[32, 32]])
SIGMA = 0.2
seeds = st.integers(0, 2**31 - 1)


def gaussian_signal(width: float, contrast: float) -> np.ndarray:
    offset = np.arange(SIDE) - SIDE // 2
    square = offset[:, None] ** 2 + offset**2
    return contrast * np.exp(-4 * math.log(2) * square / width**2)


def looked_at(images: np.ndarray) -> torch.Tensor:
    return channel_outputs(torch.from_numpy(images), MIDDLE, channels=Channels())[:, 0]


@cache
def noise_outputs(blur: float, seed: int) -> torch.Tensor:
    """Channel outputs of 2500 images of Gaussian noise, white or blurred."""
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(5):
        white = generator.standard_normal((500, SIDE, SIDE), dtype=np.float32) * SIGMA
        if blur:
            white = ndimage.gaussian_filter(white, (0, blur, blur), mode="wrap")
        parts.append(looked_at(white))
    return torch.cat(parts)


@pytest.mark.parametrize(("width", "contrast"), [(7, 0.3), (16, 0.15)])
@pytest.mark.parametrize("blur", [0.0, 2.0])
@pytest.mark.parametrize("internal", [0.0, 0.1])
def test_known_signal_in_gaussian_noise(
    width: float, contrast: float, blur: float, internal: float
) -> None:
    """In noise of covariance K the channels have T K T', so d' follows from T, K and the signal."""
    signal = gaussian_signal(width, contrast)
    # K is a circular convolution with the blur twice over: T K T' = sigma^2 (B T)(B T)'.
    bank = templates(Channels()).numpy()
    through = ndimage.gaussian_filter(bank, (0, blur, blur), mode="wrap") if blur else bank
    rows = through.reshape(len(bank), -1)
    covariance = SIGMA**2 * rows @ rows.T + internal**2 * np.eye(len(bank))
    mean = bank.reshape(len(bank), -1) @ signal.ravel()
    expected = math.sqrt(mean @ np.linalg.inv(covariance) @ mean)

    # The channels are linear, so that noise and signal may be looked at one by one.
    present = noise_outputs(blur, 2) + looked_at(signal[None])
    found = detectability(noise_outputs(blur, 1), present, internal_noise=internal)
    assert expected > 1
    assert float(found) == pytest.approx(expected, rel=0.06)


def test_the_same_formula_in_numpy() -> None:
    generator = np.random.default_rng(0)
    absent, present = generator.normal(size=(2, 80, 5)) + np.arange(2)[:, None, None] * 0.4
    pooled = (np.cov(absent.T) + np.cov(present.T)) / 2 + 0.3**2 * np.eye(5)
    shift = present.mean(0) - absent.mean(0)
    expected = math.sqrt(shift @ np.linalg.solve(pooled, shift))
    given = torch.from_numpy(absent), torch.from_numpy(present)
    assert float(detectability(*given, internal_noise=0.3)) == pytest.approx(expected, rel=1e-12)
    # A bootstrap sample is the same as the places that it draws, repeated.
    counts = resampled(80, times=3, seed=5)
    drawn = detectability(*given, internal_noise=0.3, counts=counts)
    for row, value in zip(counts, drawn, strict=True):
        repeated = [outputs.repeat_interleave(row.long(), 0) for outputs in given]
        alone = detectability(*repeated, internal_noise=0.3)
        assert float(value) == pytest.approx(float(alone), rel=1e-10)


def test_without_a_signal_nothing_is_found() -> None:
    absent = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    assert float(detectability(absent, absent, internal_noise=0.05)) == 0


def test_without_a_signal_independent_places_give_chance() -> None:
    """S d'^2 / 2 of two sets without a difference is Hotelling's T^2: chi-squared for large S."""
    generator = torch.Generator().manual_seed(1)
    places, channels, times = 500, 4, 300
    values = []
    for _ in range(times):
        absent, present = torch.randn(2, places, channels, generator=generator).double()
        values.append(float(detectability(absent, present, internal_noise=0.0)) ** 2)
    scaled = np.array(values) * places / 2
    assert stats.kstest(scaled, stats.chi2(channels).cdf).pvalue > 0.01


@settings(deadline=None, max_examples=30)
@given(seed=seeds, scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_rescaled_images_change_nothing_without_internal_noise(
    seed: int, scale: float, shift: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    absent = torch.randn(60, 4, generator=generator).double()
    present = absent + 0.5 + 0.1 * torch.randn(60, 4, generator=generator).double()
    plain = detectability(absent, present, internal_noise=0.0)
    changed = detectability(absent * scale + shift, present * scale + shift, internal_noise=0.0)
    torch.testing.assert_close(changed, plain, rtol=1e-6, atol=0)
    # With internal noise, lower contrast is harder to see.
    noisy = [
        float(detectability(k * absent, k * present, internal_noise=0.5)) for k in (1.0, 0.5, 0.25)
    ]
    assert noisy == sorted(noisy, reverse=True)


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_a_linear_map_of_the_channels_changes_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    absent, present = torch.randn(2, 60, 3, generator=generator).double()
    mixing = torch.randn(3, 3, generator=generator).double() + 4 * torch.eye(3)
    plain = detectability(absent, present, internal_noise=0.0)
    mixed = detectability(absent @ mixing, present @ mixing, internal_noise=0.0)
    torch.testing.assert_close(mixed, plain, rtol=1e-8, atol=0)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, less=st.floats(0, 1), more=st.floats(0, 1))
def test_more_channels_find_more_and_more_noise_finds_less(
    seed: int, less: float, more: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    absent, present = torch.randn(2, 40, 4, generator=generator).double()
    less, more = sorted((less, more))
    quiet = detectability(absent, present, internal_noise=less)
    assert float(detectability(absent, present, internal_noise=more)) <= float(quiet) + 1e-9
    fewer = detectability(absent[:, :2], present[:, :2], internal_noise=less)
    assert float(fewer) <= float(quiet) + 1e-9


def test_area_under_the_curve_is_that_of_the_normal_distribution() -> None:
    values = torch.linspace(0, 6, 25, dtype=torch.float64)
    expected = stats.norm.cdf(values.numpy() / math.sqrt(2))
    np.testing.assert_allclose(area_under_curve(values).numpy(), expected, atol=1e-12)
    # And it is the share of pairs of decisions that are in order.
    generator = np.random.default_rng(0)
    pairs = generator.normal(size=(200_000, 2)) + np.array([0, 1.3])
    share = float((pairs[:, 1] > pairs[:, 0]).mean())
    assert float(area_under_curve(torch.tensor(1.3))) == pytest.approx(share, abs=0.005)


def test_bootstrap_samples_depend_on_the_seed_alone() -> None:
    first = resampled(50, times=4, seed=1)
    assert torch.equal(first, resampled(50, times=4, seed=1))
    assert not torch.equal(first, resampled(50, times=4, seed=2))
    assert first.sum(1).tolist() == [50] * 4


def test_refuses_what_cannot_be_measured() -> None:
    outputs = torch.randn(20, 3).double()
    with pytest.raises(InputError, match="internal noise of -1"):
        detectability(outputs, outputs, internal_noise=-1)
    with pytest.raises(InputError, match="internal noise of nan"):
        detectability(outputs, outputs, internal_noise=math.nan)
    with pytest.raises(InputError, match="1 places are too few"):
        detectability(outputs[:1], outputs[:1], internal_noise=0.1)
    with pytest.raises(InputError, match="do not vary independently"):
        detectability(torch.zeros(20, 3), torch.ones(20, 3), internal_noise=0.0)
