"""Noise of whole scans: measured where it is known, and drawn as it was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_ddfm.likelihoods.scan_noise import ScanNoise, scan_noise

SHAPE = (56, 48, 40)


def smooth_scan() -> np.ndarray:
    """A scan from 300 to 1700 without detail, in 100 units of air on two sides."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, side) for side in SHAPE), indexing="ij")
    scan = 1000 + 700 * np.sin(3 * x + y) * np.cos(2 * z)
    scan[:8] = scan[:, -6:] = 100
    return scan


def grained(grain: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    white = np.random.default_rng(seed).standard_normal(SHAPE)
    noise = ndimage.gaussian_filter(white, grain, mode="wrap")
    return noise / noise.std()


@pytest.mark.parametrize("grain", [(0, 0, 0), (0.7, 0.7, 0), (0.6, 0.6, 0.6), (1.0, 0.9, 0.5)])
def test_noise_of_a_smooth_scan_and_its_grain(grain: tuple[float, float, float]) -> None:
    found = scan_noise(torch.from_numpy(smooth_scan() + 25 * grained(grain)))
    assert float(found.deviation(torch.tensor(1000.0))) == pytest.approx(25, rel=0.15)
    np.testing.assert_allclose(found.grain, grain, atol=0.35 if 0 in grain else 0.08)


def test_counts_are_noisier_where_there_are_more() -> None:
    scan = smooth_scan()
    found = scan_noise(torch.from_numpy(scan + np.sqrt(scan) * grained((0.6, 0.6, 0.6))))
    for value in (400.0, 900.0, 1500.0):
        assert float(found.deviation(torch.tensor(value))) == pytest.approx(value**0.5, rel=0.25)


def test_a_clean_smooth_scan_has_next_to_none() -> None:
    found = scan_noise(torch.from_numpy(smooth_scan()))
    assert float(found.deviation(torch.tensor(1000.0))) < 2


@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 40, 1), (64, 64, 12)])
def test_little_or_nothing_to_measure(shape: tuple[int, ...]) -> None:
    found = scan_noise(torch.zeros(shape))
    assert (found.constant, found.slope) == (0, 0)
    assert float(found.drawn(torch.zeros(1, *shape), np.random.default_rng(0)).abs().max()) == 0


def test_a_single_slice_is_measured_in_its_plane() -> None:
    scan = smooth_scan()[:, :, 20:21] + 25 * grained((0.6, 0.6, 0))[:, :, :1]
    found = scan_noise(torch.from_numpy(scan))
    assert found.grain[2] == 0
    assert float(found.deviation(torch.tensor(1000.0))) == pytest.approx(25, rel=0.35)


def test_drawn_noise_is_that_of_the_model() -> None:
    noise = ScanNoise(constant=0.01, slope=0.03, grain=(0.9, 0.8, 0.0), low=-1.0, span=2.0)
    volume = torch.cat([torch.full((1, 40, 40, 40), v) for v in (-1.0, 1.0)])
    drawn = noise.drawn(volume, np.random.default_rng(3)).double().numpy()
    assert drawn[0].std() == pytest.approx(2 * 0.1, rel=0.03)
    assert drawn[1].std() == pytest.approx(2 * 0.2, rel=0.03)
    for axis, grain in enumerate(noise.grain):
        ahead = np.roll(drawn[0], 1, axis)
        expected = np.exp(-1 / (4 * grain**2)) if grain else 0.0
        assert (drawn[0] * ahead).mean() / drawn[0].var() == pytest.approx(expected, abs=0.04)
    again = noise.drawn(volume, np.random.default_rng(3)).double().numpy()
    assert np.array_equal(drawn, again)


def test_a_thin_stack_is_measured() -> None:
    scan = (smooth_scan() + 25 * grained((0, 0, 0)))[:, :, 16:24]
    found = scan_noise(torch.from_numpy(scan))
    assert float(found.deviation(torch.tensor(1000.0))) == pytest.approx(25, rel=0.35)
