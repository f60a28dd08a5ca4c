r"""The weight of `moving`, smoothed from slice to slice.

Slices are fused one by one, so that their weights may jump where the likelihood is undecided. With
the weight :math:`w_z`, the sources :math:`i_z, v_z` of slice z and Gaussian taps :math:`g`,

.. math::

    \tilde w_z = \frac{\sum_k g_k\, a_{z+k} w_{z+k}}{\sum_k g_k\, a_{z+k}}, \qquad
    a = |i - v| + \epsilon, \qquad f_z = v_z + \tilde w_z (i_z - v_z).

A weight counts as much as its sources differ, for where they agree it means nothing. The fused
value stays between the sources.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

__all__ = ["smooth_across_slices"]

_LEAST_DIFFERENCE: Final = 1e-3


def smooth_across_slices(result: Tensor, slices: Tensor, *, sigma: float) -> Tensor:
    """Smooth the weight along the slices, and fuse with it again.

    Args:
        result: luminance and weight, [N, 2, H, W], slice after slice.
        slices: the sources, fixed and moving, same shape, in [-1, 1].
        sigma: standard deviation of the Gaussian in slices, over 0.

    Returns:
        [N, 2, H, W] like `result`.
    """
    reach = math.floor(3 * sigma + 0.5)
    fixed, moving = slices[:, 0].float(), slices[:, 1].float()
    difference = (moving - fixed).abs() + _LEAST_DIFFERENCE
    weighted, total = torch.zeros_like(difference), torch.zeros_like(difference)
    count = len(result)
    for offset in range(-min(reach, count - 1), min(reach, count - 1) + 1):
        tap = math.exp(-0.5 * (offset / sigma) ** 2)
        here = slice(max(0, -offset), min(count, count - offset))
        there = slice(max(0, offset), min(count, count + offset))
        weighted[here] += tap * difference[there] * result[there, 1]
        total[here] += tap * difference[there]
    weight = (weighted / total).clamp(0, 1)
    fused = torch.lerp(fixed, moving, weight)
    fused = fused.clamp(torch.minimum(fixed, moving), torch.maximum(fixed, moving))
    return torch.stack([fused, weight], dim=1)
