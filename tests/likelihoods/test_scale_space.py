"""Gaussian smoothing in millimetres, and images split by scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from em_images import QUICK, SIDES
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from monai_ddfm.likelihoods.scale_space import gaussian, split_scales


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("sigma", "spacing"),
    [(1.0, (1.0, 1.0)), (2.3, (1.0, 1.0)), (0.8, (0.5, 0.5)), (3.0, (0.7, 2.0)), (2.0, (4.0, 1.0))],
)
def test_away_from_borders_it_is_scipys_gaussian_of_that_width_in_mm(
    sigma: float, spacing: tuple[float, float]
) -> None:
    image = noise(90, 80)
    found = gaussian(image, sigma=sigma, spacing=spacing).numpy()
    widths = [sigma / size for size in spacing]
    # The same taps: as far as four deviations, and at least the neighbors.
    radii = [int(max(4.0 * width, 1.0)) for width in widths]
    expected = ndimage.gaussian_filter(image.numpy(), widths, radius=radii)
    down, across = (slice(radius, -radius) for radius in radii)
    np.testing.assert_allclose(found[down, across], expected[down, across], atol=1e-12)


@QUICK
@given(
    height=SIDES,
    width=SIDES,
    sigma=st.floats(0.05, 30),
    rows=st.floats(0.2, 5),
    columns=st.floats(0.2, 5),
)
def test_constant_images_stay_up_to_the_border(
    height: int, width: int, sigma: float, rows: float, columns: float
) -> None:
    image = torch.full((2, 1, height, width), 0.37, dtype=torch.float64)
    torch.testing.assert_close(gaussian(image, sigma=sigma, spacing=(rows, columns)), image)


def test_at_a_border_the_weights_that_are_left_sum_to_one() -> None:
    """The rows of the matrix itself, found by smoothing an identity along its rows alone."""
    matrix = gaussian(torch.eye(9, dtype=torch.float64)[:, None], sigma=1.5)[:, 0].T
    torch.testing.assert_close(matrix.sum(1), torch.ones(9, dtype=torch.float64))
    distance = np.arange(9)
    kernel = np.exp(-0.5 * (distance / 1.5) ** 2) * (distance <= 6)
    np.testing.assert_allclose(matrix[0], kernel / kernel.sum(), atol=1e-15)
    assert float(matrix[0, 0]) > 1.5 * float(matrix[4, 4])


def test_a_pixel_spreads_by_the_same_millimetres_along_both_axes() -> None:
    dot = torch.zeros(81, 41, dtype=torch.float64)
    dot[40, 20] = 1.0
    spread = gaussian(dot, sigma=3.0, spacing=(0.5, 1.5))
    for axis, (size, middle) in enumerate(((0.5, 40), (1.5, 20))):
        profile = spread.sum(1 - axis)
        distance = (torch.arange(len(profile)) - middle) * size
        deviation = float((profile * distance.square()).sum().sqrt())
        assert deviation == pytest.approx(3.0, rel=2e-3)


@QUICK
@given(
    seed=st.integers(0, 999),
    height=SIDES,
    width=SIDES,
    scales=st.lists(st.floats(0.1, 20), min_size=1, max_size=5),
)
def test_details_and_rest_are_the_image(
    seed: int, height: int, width: int, scales: list[float]
) -> None:
    image = noise(2, 1, height, width, seed=seed)
    details, rest = split_scales(image, scales=scales, spacing=(0.8, 1.3))
    assert len(details) == len(scales)
    torch.testing.assert_close(sum(details) + rest, image)
    smooth = image
    for sigma, detail in zip(scales, details, strict=True):
        below = gaussian(smooth, sigma=sigma, spacing=(0.8, 1.3))
        torch.testing.assert_close(detail, smooth - below)
        smooth = below
    torch.testing.assert_close(rest, smooth)


def test_a_width_of_nothing_changes_nothing() -> None:
    image = noise(3, 7, 5)
    assert torch.equal(gaussian(image, sigma=0), image)
    assert torch.equal(gaussian(image, sigma=0.0, spacing=(0.1, 9.0)), image)


def test_a_batch_is_its_members_one_by_one() -> None:
    images = noise(4, 2, 21, 17)
    together = gaussian(images, sigma=2.5, spacing=(1.0, 0.6))
    for number, image in enumerate(images.flatten(0, 1)):
        alone = gaussian(image, sigma=2.5, spacing=(1.0, 0.6))
        torch.testing.assert_close(together.flatten(0, 1)[number], alone, atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_type_is_kept(dtype: torch.dtype) -> None:
    image = noise(30, 20).to(dtype)
    found = gaussian(image, sigma=1.7)
    assert found.dtype == dtype
    precision = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2e-2}[dtype]
    expected = gaussian(noise(30, 20), sigma=1.7)
    torch.testing.assert_close(found.double(), expected, atol=precision, rtol=0)


def test_what_is_kept_of_an_inference_serves_a_gradient_later() -> None:
    image = torch.rand(1, 1, 9, 7, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        before = gaussian(image, sigma=1.375, spacing=(1.25, 0.75)).clone()
    image.requires_grad_()
    after = gaussian(image, sigma=1.375, spacing=(1.25, 0.75))
    after.square().sum().backward()
    assert torch.equal(before, after.detach())
    assert image.grad is not None
