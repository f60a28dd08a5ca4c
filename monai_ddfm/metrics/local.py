r"""Weighted means and second moments in a sliding window.

With separable weights :math:`w` of sum 1, over every window that lies wholly in the image:

.. math::
    \mu_x = \sum w x, \qquad \sigma_x^2 = \sum w x^2 - \mu_x^2, \qquad
    \sigma_{xy} = \sum w x y - \mu_x \mu_y
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "filter_valid", "gaussian_taps", "local_moments"]


class Moments(NamedTuple):
    """Local means, variances and covariance of two images, each [N, h, w]."""

    mean_x: Tensor
    mean_y: Tensor
    var_x: Tensor
    var_y: Tensor
    cov: Tensor


def gaussian_taps(size: int, sigma: float) -> list[float]:
    """Return `size` samples of a centered Gaussian, of sum 1."""
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    taps = torch.exp(-offset.square() / (2 * sigma**2))
    return [float(tap) for tap in taps / taps.sum()]


def filter_valid(image: Tensor, taps: list[float]) -> Tensor:
    """Correlate with the same taps along the last two axes, without padding.

    A sum of shifted copies: in float64 on a CPU several times faster than a convolution.

    Args:
        image: [..., H, W].
        taps: the weights, symmetric.

    Returns:
        [..., H - K + 1, W - K + 1].
    """
    for axis in (-1, -2):
        length = image.shape[axis] - len(taps) + 1
        total = image.narrow(axis, 0, length) * taps[0]
        for start, tap in enumerate(taps[1:], start=1):
            total.add_(image.narrow(axis, start, length), alpha=tap)
        image = total
    return image


def local_moments(x: Tensor, y: Tensor, taps: list[float]) -> Moments:
    """Return the moments of two images [N, H, W] in a window of the given weights.

    The variances are biased (the weights have the sum 1) and not below zero.
    """
    mean_x, mean_y, xx, yy, xy = filter_valid(torch.stack((x, y, x * x, y * y, x * y)), taps)
    return Moments(
        mean_x,
        mean_y,
        (xx - mean_x.square()).clamp_min(0),
        (yy - mean_y.square()).clamp_min(0),
        xy - mean_x * mean_y,
    )
