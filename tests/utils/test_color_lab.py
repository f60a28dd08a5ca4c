"""CIELAB against scikit-image, an independent implementation, and its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from color_checks import random_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import lab2rgb, rgb2lab

from monai_ddfm.utils.color import lab_to_rgb, rgb_to_lab

CORNERS = torch.tensor(
    [[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)], dtype=torch.float64
)
# scikit-image rounds the white to five digits; here it is the sum of the primaries.
ROUNDED_WHITE = 0.02
seeds = st.integers(0, 2**31 - 1)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_agrees_with_scikit_image(seed: int) -> None:
    rgb = random_rgb(seed, 50, 3)
    expected = rgb2lab(rgb.numpy())
    np.testing.assert_allclose(rgb_to_lab(rgb).numpy(), expected, rtol=0, atol=ROUNDED_WHITE)
    dark = rgb * 0.04
    expected = rgb2lab(dark.numpy())
    np.testing.assert_allclose(rgb_to_lab(dark).numpy(), expected, rtol=0, atol=ROUNDED_WHITE)


def test_inverse_agrees_with_scikit_image() -> None:
    lab = torch.from_numpy(rgb2lab(random_rgb(3, 200, 3).numpy()))
    np.testing.assert_allclose(lab_to_rgb(lab).numpy(), lab2rgb(lab.numpy()), atol=5e-4)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_round_trip(dtype: torch.dtype, error: float, dim: int) -> None:
    rgb = random_rgb(1, 3, 3, 17, 3, dtype=dtype)
    lab = rgb_to_lab(rgb, dim=dim)
    assert lab.dtype == dtype
    assert lab.shape == rgb.shape
    torch.testing.assert_close(lab_to_rgb(lab, dim=dim), rgb, atol=error, rtol=0)


def test_gray_is_neutral_and_white_is_100() -> None:
    gray = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None].expand(-1, 3)
    lab = rgb_to_lab(gray)
    assert float(lab[:, 1:].abs().max()) < 1e-12
    assert lab[0, 0] == pytest.approx(0, abs=1e-12)
    assert lab[-1, 0] == pytest.approx(100)
    assert bool((lab[:, 0].diff() > 0).all())


def test_the_documented_range_is_that_of_the_cube() -> None:
    lab = rgb_to_lab(CORNERS)
    assert lab.amin(0).tolist() == pytest.approx([0, -86.2, -107.9], abs=0.1)
    assert lab.amax(0).tolist() == pytest.approx([100, 98.2, 94.5], abs=0.1)


def test_outside_the_gamut_nothing_is_clipped_or_nan() -> None:
    lab = torch.tensor([[50.0, 120.0, -120.0], [5.0, -90.0, 90.0]], dtype=torch.float64)
    rgb = lab_to_rgb(lab)
    assert bool(rgb.isfinite().all())
    assert float(rgb.min()) < 0
    torch.testing.assert_close(rgb_to_lab(rgb), lab, atol=1e-9, rtol=0)


def test_gradients_are_finite_at_black() -> None:
    rgb = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    lab_to_rgb(rgb_to_lab(rgb)).sum().backward()
    assert rgb.grad is not None
    torch.testing.assert_close(rgb.grad, torch.ones_like(rgb.grad))


def test_refuses_what_is_no_color() -> None:
    for convert in (rgb_to_lab, lab_to_rgb):
        with pytest.raises(ValueError, match="3 channels"):
            convert(torch.zeros(2, 4))
        with pytest.raises(ValueError, match="floating point"):
            convert(torch.zeros(2, 3, dtype=torch.uint8))
