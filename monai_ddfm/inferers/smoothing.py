r"""The weight of `moving`, smoothed from slice to slice.

Slices are fused one by one, so that their weights may jump where the likelihood is undecided. With
the weight :math:`w_z`, the sources :math:`i_z, v_z` of slice z and Gaussian taps :math:`g`,

.. math::

    \tilde w_z = \frac{\sum_k g_k\, a_{z+k} w_{z+k}}{\sum_k g_k\, a_{z+k}}, \qquad
    a = |i - v| + \epsilon, \qquad f_z = v_z + \tilde w_z (i_z - v_z).

A weight counts as much as its sources differ, for where they agree it means nothing. The fused
value stays between the sources. What a fused value had beyond them before, by a margin for noise or
a fidelity below 1, it keeps:

.. math::

    \tilde f_z = f_z^{\text{new}} + \left(f_z - \min(\max(f_z, l_z), u_z)\right), \qquad
    l_z = \min(i_z, v_z),\; u_z = \max(i_z, v_z).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.utils.slabs import slabs

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
    smooth = torch.empty_like(result)
    for part in slabs((len(result), *result.shape[2:])):
        weight = _smooth_weight(result, slices, part, sigma=sigma)
        fixed, moving = slices[part, 0].float(), slices[part, 1].float()
        lower, upper = torch.minimum(fixed, moving), torch.maximum(fixed, moving)
        beyond = result[part, 0] - result[part, 0].clamp(lower, upper)
        smooth[part, 0] = torch.lerp(fixed, moving, weight).clamp(lower, upper) + beyond
        smooth[part, 1] = weight
    return smooth


def _smooth_weight(result: Tensor, slices: Tensor, part: slice, *, sigma: float) -> Tensor:
    """Smoothed weight of the slices of `part`, [n, H, W]."""
    reach = math.floor(3 * sigma + 0.5)
    weighted = torch.zeros_like(result[part, 1])
    total = torch.zeros_like(weighted)
    for offset in range(-reach, reach + 1):
        first, last = max(part.start, -offset), min(part.stop, len(result) - offset)
        if first >= last:
            continue
        near = slice(first + offset, last + offset)
        difference = (slices[near, 1].float() - slices[near, 0].float()).abs()
        counts = math.exp(-0.5 * (offset / sigma) ** 2) * (difference + _LEAST_DIFFERENCE)
        here = slice(first - part.start, last - part.start)
        weighted[here] += counts * result[near, 1]
        total[here] += counts
    return (weighted / total).clamp(0, 1)
