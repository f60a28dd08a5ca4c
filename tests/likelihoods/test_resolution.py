"""The width of a point spread, estimated from an image and an MRI of the same tissues."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_ddfm.likelihoods.point_spread import gaussian_blur
from monai_ddfm.likelihoods.resolution import estimate_fwhm

pytestmark = pytest.mark.usefixtures("one_thread_throughout")  # many small operations

SHAPE, SPACING = (48, 48, 40), (2.0, 2.0, 2.0)
MRI, UPTAKE = (1000.0, 545.0, 230.0), (4000.0, 16000.0, 800.0)  # white, gray, fluid


def tissues() -> Tensor:
    """Three tissues in folds some millimeters thick, as shares of the voxels, [3, *SHAPE]."""
    noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    smooth = gaussian_blur(SHAPE, SPACING, 12.0, like=noise)
    parts = torch.stack([smooth(one) for one in noise])
    parts = parts / parts.std()
    gray = (torch.sigmoid(8 * (parts[0] + 0.5))).clamp(0, 1)
    fluid = (torch.sigmoid(8 * (parts[1] - 1.2))).clamp(0, 1) * gray
    return torch.stack([1 - gray, gray - fluid, fluid])


TISSUES = tissues()


def mixed(values: tuple[float, ...]) -> Tensor:
    return sum(value * share for value, share in zip(values, TISSUES, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("fwhm", [4.5, 6.0, 9.0])
def test_the_width_is_found(fwhm: float) -> None:
    uptake = mixed(UPTAKE)
    seen = gaussian_blur(SHAPE, SPACING, fwhm, like=uptake)(uptake)
    seen += 400 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    found = estimate_fwhm(seen, mixed(MRI), spacing=SPACING, scale=14000.0, guide_scale=1000.0)
    assert found == pytest.approx(fwhm, abs=0.6)


def test_an_image_that_does_not_follow_the_mri_tells_nothing() -> None:
    other = 9000 + 4000 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(5))
    guide = mixed(MRI)
    assert estimate_fwhm(other, guide, spacing=SPACING, scale=1e4, guide_scale=1000.0) is None
    dark = torch.zeros(SHAPE)
    assert estimate_fwhm(dark, guide, spacing=SPACING, scale=1e4, guide_scale=1000.0) is None
