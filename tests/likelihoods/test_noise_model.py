"""Noise that depends on the signal: the scale on which it does not, clipping, and its estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.noise_level import smooth_windows
from monai_ddfm.likelihoods.noise_model import NoiseModel, noise_model

VARIANCES = st.floats(1e-5, 0.02)


def noisy(signal: Tensor, constant: float, slope: float, *, seed: int = 0) -> Tensor:
    """Signal in [-1, 1] with counts and white noise, not clipped."""
    generator = torch.Generator().manual_seed(seed)
    values = (signal.double() + 1) / 2
    if slope:
        values = slope * torch.poisson(values / slope, generator=generator)
    white = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    return (values + math.sqrt(constant) * white) * 2 - 1


def hills(count: int = 3, side: int = 160) -> Tensor:
    """Smooth images [N, 1, H, W] with all values of a head."""
    y, x = torch.meshgrid(torch.linspace(0, 3, side), torch.linspace(0, 3, side), indexing="ij")
    return torch.stack([0.7 * torch.sin(x + n) * torch.cos(y - n) - 0.1 for n in range(count)])[
        :, None
    ].double()


def test_counts_alone_have_the_square_root_as_their_scale() -> None:
    values = torch.linspace(0, 1, 11, dtype=torch.float64)
    model = NoiseModel(0.0, 0.01)
    torch.testing.assert_close(model.stabilize(values * 2 - 1), values.sqrt() * 2 - 1)
    assert model.level == pytest.approx(0.1)


@given(VARIANCES, VARIANCES)
def test_the_scale_is_monotone_keeps_the_ends_and_has_an_inverse(a: float, b: float) -> None:
    values = torch.linspace(-1, 1, 201, dtype=torch.float64)
    model = NoiseModel(a, b)
    scaled = model.stabilize(values)
    assert bool((scaled.diff() > 0).all())
    torch.testing.assert_close(scaled[[0, -1]], values[[0, -1]])
    torch.testing.assert_close(model.restore(scaled), values)


@given(VARIANCES, st.sampled_from([1e-4, 1e-7, 1e-12, 1e-300]))
def test_a_vanishing_slope_is_no_slope(a: float, relative: float) -> None:
    values = torch.linspace(-1, 1, 2001)
    flat, tilted = NoiseModel(a), NoiseModel(a, relative * a)
    assert torch.equal(flat.stabilize(values), values)
    scaled = tilted.stabilize(values)
    close = max(relative, 1e-6)
    torch.testing.assert_close(scaled, values, atol=close, rtol=0)
    torch.testing.assert_close(tilted.restore(scaled), values, atol=1e-6, rtol=0)
    assert tilted.level == pytest.approx(flat.level, rel=1e-3)
    assert NoiseModel.white(flat.level).constant == pytest.approx(a)


@pytest.mark.parametrize(("constant", "slope"), [(1e-4, 0.004), (2e-3, 0.002), (1e-3, 0.0)])
def test_on_its_scale_the_noise_is_everywhere_the_same(constant: float, slope: float) -> None:
    model = NoiseModel(constant, slope)
    for value in (-0.5, 0.0, 0.5):
        signal = torch.full((40_000,), value)
        spread = float(model.stabilize(noisy(signal, constant, slope)).std())
        assert spread == pytest.approx(model.level, rel=0.04), value


@settings(max_examples=15, deadline=None)
@given(VARIANCES, st.floats(0, 0.02), st.floats(0, 1))
def test_unclipping_inverts_the_mean_of_clipped_noise(a: float, b: float, value: float) -> None:
    deviation = math.sqrt(a + b * value)

    def density(u: float) -> float:
        return min(max(u, 0.0), 1.0) * float(stats.norm.pdf(u, value, deviation))

    reach = 9 * deviation
    ends = sorted({min(max(end, value - reach), value + reach) for end in (0.0, 1.0)})
    mean = integrate.quad(density, value - reach, value + reach, points=ends, limit=200)[0]
    found = NoiseModel(a, b).unclip(torch.tensor([2 * mean - 1], dtype=torch.float64))
    assert float(found) == pytest.approx(2 * value - 1, abs=2e-4 + 1e-6 / deviation)


def test_unclipping_brings_back_black_and_white_and_leaves_the_middle() -> None:
    model = NoiseModel(0.0035)
    torch.testing.assert_close(
        model.unclip(torch.tensor([-1.0, 0.0, 0.3, 1.0])), torch.tensor([-1.0, 0.0, 0.3, 1.0])
    )
    white = noisy(torch.ones(100_000), 0.0035, 0.0).clamp(-1, 1).mean()
    assert float(white) < 0.96
    assert float(model.unclip(white[None].float())) == pytest.approx(1, abs=5e-3)
    still = torch.linspace(-1, 1, 5)
    assert torch.equal(NoiseModel(0.0).unclip(still), still)


@pytest.mark.parametrize(("constant", "slope"), [(2e-4, 0.008), (2e-3, 0.006)])
def test_noise_that_grows_with_the_signal_is_measured(constant: float, slope: float) -> None:
    images = noisy(hills(), constant, slope).clamp(-1, 1).float()
    found = noise_model(images)
    for value in (0.2, 0.5, 0.8):
        expected = constant + slope * value
        assert found.constant + found.slope * value == pytest.approx(expected, rel=0.15), value
    assert found.level == pytest.approx(NoiseModel(constant, slope).level, rel=0.1)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.03, 0.15), st.integers(0, 2**16))
def test_white_noise_has_hardly_a_slope(level: float, seed: int) -> None:
    images = noisy(hills(), (level / 2) ** 2, 0.0, seed=seed).clamp(-1, 1).float()
    found = noise_model(images)
    assert found.level == pytest.approx(level, rel=0.1)
    values = torch.linspace(-1, 1, 9)
    assert float((found.stabilize(values) - values).abs().max()) < 0.12


def test_where_little_can_be_told_there_is_no_slope() -> None:
    few = noisy(hills(1, 32), 1e-3, 0.0).float()
    assert noise_model(few) == NoiseModel.white(smooth_windows(few).level)
    assert noise_model(torch.full((2, 1, 64, 64), -1.0)) == NoiseModel(0.0)
    fading = noisy(hills(), 0.0, 0.004).float() * -1
    assert noise_model(fading).slope == 0


@pytest.mark.parametrize("values", [(-1e-3, 0.0), (1e-3, -1e-3), (math.nan, 0.0), (0.0, np.inf)])
def test_impossible_noise_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="unusable"):
        NoiseModel(*values)


# --- noise of magnitudes


def rician(signal: torch.Tensor, sigma: float, seed: int = 0) -> torch.Tensor:
    """Magnitudes in [-1, 1] of a signal in [-1, 1] with complex noise of sigma on [0, 1]."""
    rng = np.random.default_rng(seed)
    unit = ((signal + 1) / 2).numpy()
    first, second = (sigma * rng.standard_normal(unit.shape) for _ in range(2))
    return torch.from_numpy(np.hypot(unit + first, second).clip(0, 1) * 2 - 1).float()


def head_in_air() -> torch.Tensor:
    """Hills of tissue inside a disc, nothing around: [4, 1, 128, 128] in [-1, 1]."""
    images = hills(4, 128)
    row, column = np.ogrid[-64:64, -64:64]
    return torch.where(torch.from_numpy(row**2 + column**2 < 45**2), images, -1.0)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 0.1), st.floats(0.05, 0.6))
def test_the_bias_of_magnitudes_is_that_of_rices_distribution(sigma: float, value: float) -> None:
    mean = float(stats.rice.mean(value / sigma, scale=sigma))
    model = NoiseModel(sigma**2, magnitudes=True)
    found = model.unclip(torch.tensor([2 * mean - 1], dtype=torch.float64))
    assert float(found) == pytest.approx(2 * value - 1, abs=2e-3)


def test_what_is_at_the_floor_of_magnitudes_is_black_and_white_stays_white() -> None:
    model = NoiseModel(0.06**2, magnitudes=True)
    floor = 2 * 0.06 * math.sqrt(math.pi / 2) - 1
    assert float(model.unclip(torch.tensor([floor]))) == pytest.approx(-1, abs=2e-3)
    white = rician(torch.ones(100_000), 0.06).mean()
    assert float(model.unclip(white[None])) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("sigma", [0.03, 0.06, 0.1])
def test_magnitudes_are_told_by_their_background(sigma: float) -> None:
    found = noise_model(rician(head_in_air(), sigma))
    assert found.magnitudes
    assert found.level == pytest.approx(2 * sigma, rel=0.1)
    assert found.described()["kind"] == "Rician"


def test_other_noise_and_other_backgrounds_are_no_magnitudes() -> None:
    head = head_in_air()
    tissue_only = hills(4, 128)
    blackened = torch.where(head == -1, head, rician(head, 0.06))
    for images in (
        noisy(head, 0.06**2, 0.0).clamp(-1, 1).float(),  # normal, cut at black
        noisy(head, 0.0, 0.01).clamp(-1, 1).float(),  # counts
        rician(tissue_only, 0.06),  # no background to tell it by
        blackened,  # by a window that begins above the noise of air
        head.float(),
    ):
        assert not noise_model(images).magnitudes
