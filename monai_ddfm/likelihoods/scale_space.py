r"""Gaussian smoothing in millimetres, and images split by scale.

On a row of n pixels of size h the Gaussian of standard deviation :math:`\sigma` is the matrix

.. math::

    G_{jk} \propto e^{-\frac12 (j - k)^2 h^2 / \sigma^2}, \qquad \sum_k G_{jk} = 1,

normalized row by row, so that no value beyond the border is made up (normalized convolution [1]).
An image is smoothed by two products, :math:`G_H X G_W^\top`. On a CPU that is several times faster
than a convolution of one channel, and its cost does not depend on :math:`\sigma`.

Smoothing again and again gives scales [2] and what lies between them,

.. math::

    c_0 = s, \qquad c_{l+1} = G_{\sigma_l} * c_l, \qquad d_l = c_l - c_{l+1}, \qquad
    s = c_L + \sum_{l < L} d_l .

References:
    [1] H. Knutsson, C.-F. Westin, Normalized and differential convolution, CVPR 1993.
    [2] T. Lindeberg, Scale-Space Theory in Computer Vision, Kluwer 1994.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

__all__ = ["Spacing", "gaussian", "split_scales"]

Spacing = tuple[float, float]
"""Size of a pixel in mm: distance of rows, distance of columns."""

# At this distance in standard deviations a Gaussian counts as zero, as in most filters.
_REACH = 4.0
# A slice is smoothed by some 24 Gaussians along both sides, and the next slice by the same.
_KEPT: Final = 64


def gaussian(images: Tensor, *, sigma: float, spacing: Spacing = (1.0, 1.0)) -> Tensor:
    """Smooth images by a Gaussian.

    Args:
        images: [..., H, W], floating point.
        sigma: standard deviation in mm; 0 changes nothing.
        spacing: size of a pixel in mm.

    Returns:
        Same shape and type.
    """
    if sigma == 0:
        return images
    rows, columns = (
        _matrix(length, sigma / size, images.dtype, images.device)
        for length, size in zip(images.shape[-2:], spacing, strict=True)
    )
    return rows @ images @ columns.T


def split_scales(
    images: Tensor, *, scales: Sequence[float], spacing: Spacing = (1.0, 1.0)
) -> tuple[list[Tensor], Tensor]:
    """Split images into details of growing scale and a smooth rest; their sum is the images.

    Args:
        images: [..., H, W], floating point.
        scales: standard deviations of the successive Gaussians in mm, finest first.
        spacing: size of a pixel in mm.

    Returns:
        Details, finest first, and the rest, each of the shape of `images`.
    """
    details = []
    for sigma in scales:
        smooth = gaussian(images, sigma=sigma, spacing=spacing)
        details.append(images - smooth)
        images = smooth
    return details, images


@lru_cache(maxsize=_KEPT)
def _matrix(length: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the smoothing of rows of `length` pixels, [length, length]; sigma in pixels."""
    # What is kept must do for whoever asks next, with gradients or under autocast.
    with torch.inference_mode(mode=False), torch.autocast(device.type, enabled=False):
        places = torch.arange(
            length, device=device, dtype=torch.promote_types(dtype, torch.float32)
        )
        distance = (places[:, None] - places[None]).abs() / sigma
        kernel = torch.exp(-0.5 * distance.square()) * (distance <= max(_REACH, 1 / sigma))
        return (kernel / kernel.sum(dim=1, keepdim=True)).to(dtype)
