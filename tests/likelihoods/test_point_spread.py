"""The blur of a scanner: analytic Gaussians, an exact adjoint, sums that are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_ddfm.likelihoods.point_spread import (
    FWHM_PER_DEVIATION,
    Blur,
    gaussian_blur,
    gaussian_matrix,
)

pytestmark = pytest.mark.usefixtures("one_thread_throughout")  # many small operations

LIKE = torch.zeros(0, dtype=torch.float64)
SHAPE, SPACING = (7, 6, 5), (1.0, 2.0, 3.0)


def test_a_gaussian_of_a_gaussian_is_a_wider_one() -> None:
    places = torch.arange(61, dtype=torch.float64) - 30
    narrow, wide = (torch.exp(-0.5 * (places / s) ** 2) / s for s in (3.0, 5.0))
    matrix = gaussian_matrix(61, 4.0)
    assert matrix is not None
    np.testing.assert_allclose(matrix @ narrow, wide, atol=2e-6)


def test_the_blur_is_that_of_scipy() -> None:
    image = torch.rand(SHAPE, dtype=torch.float64)
    blur = gaussian_blur(SHAPE, SPACING, 4.0, like=LIKE)
    deviations = 4.0 / FWHM_PER_DEVIATION / np.array(SPACING)
    expected = ndimage.gaussian_filter(image.numpy(), deviations, mode="reflect", truncate=5.5)
    np.testing.assert_allclose(blur(image), expected, atol=1e-5)


@pytest.mark.parametrize("fwhm", [1.0, 6.0, 25.0])  # the last is wider than the image
def test_sums_and_uniform_images_are_kept(fwhm: float) -> None:
    blur = gaussian_blur(SHAPE, SPACING, fwhm, like=LIKE)
    image = torch.rand(SHAPE, dtype=torch.float64)
    assert float(blur(image).sum()) == pytest.approx(float(image.sum()), rel=1e-12)
    np.testing.assert_allclose(blur(torch.ones_like(image)), 1.0, rtol=1e-12)


def test_the_adjoint_is_exact_whatever_the_shapes() -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = tuple(
        torch.rand(m, n, generator=generator, dtype=torch.float64)
        for m, n in ((3, 7), (6, 6), (2, 5))
    )
    blur = Blur(matrices)
    x = torch.rand(7, 6, 5, generator=generator, dtype=torch.float64)
    y = torch.rand(3, 6, 2, generator=generator, dtype=torch.float64)
    assert float((blur(x) * y).sum()) == pytest.approx(float((x * blur.adjoint(y)).sum()))


def test_the_diagonal_is_that_of_the_written_out_operator() -> None:
    blur = gaussian_blur(SHAPE, SPACING, (4.0, 0.0, 5.0), like=torch.zeros(0).double())
    weights = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)).double()
    units = torch.eye(weights.numel()).double().reshape(-1, *SHAPE)
    expected = torch.stack([(blur(one).square() * weights).sum() for one in units])
    np.testing.assert_allclose(blur.diagonal(weights).flatten(), expected, rtol=1e-12)


def test_no_width_is_no_blur() -> None:
    image = torch.rand(SHAPE)
    assert torch.equal(gaussian_blur(SHAPE, SPACING, 0.0, like=image)(image), image)
