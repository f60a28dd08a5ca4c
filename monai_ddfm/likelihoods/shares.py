r"""Which part of a fused value is of which source: the most even shares that give it.

A value f between the sources :math:`s_0, \dots, s_N` is a mean of them in many ways as soon as
there are three. Of all shares with :math:`\sum_k w_k = 1` and :math:`\sum_k w_k s_k = f` these are
the ones with the largest entropy, which prefer no source without reason [1]:

.. math::

    w_k = \frac{e^{\lambda u_k}}{\sum_j e^{\lambda u_j}}, \qquad
    u_k = \frac{s_k - \min_j s_j}{\max_j s_j - \min_j s_j},

with the one number :math:`\lambda` for which the mean is f. It is found by Newton's method, kept
within a bracket that halves where a step would leave it: the mean rises with :math:`\lambda`. Of
two sources there is but one such mean, :math:`w_1 = (f - s_0) / (s_1 - s_0)`, and these are its
shares. Sources that agree share alike; where all agree, every share is as good, and all are equal.

References:
    [1] E. T. Jaynes, Information theory and statistical mechanics, Physical Review 106 (1957).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["even_shares"]

# Below this difference of the sources a share is rounding, as in `em.moving_share`.
_EQUAL_SOURCES: Final = 1e-4
# exp(-24) is less than float32 can tell from nothing beside one.
_STEEPEST: Final = 24.0
_STEPS: Final = 16


def even_shares(fused: Tensor, sources: Tensor) -> Tensor:
    """Return the most even shares of sources in a fused image.

    Args:
        fused: [B, 1, ...]; what lies beyond the sources counts as the nearest of them.
        sources: [B, K, ...].

    Returns:
        [B, K, ...] in [0, 1]; they sum to 1 over K.
    """
    low, high = sources.amin(1, keepdim=True), sources.amax(1, keepdim=True)
    equal = high - low < _EQUAL_SOURCES
    width = torch.where(equal, 1.0, high - low)
    place, wanted = (sources - low) / width, ((fused - low) / width).clamp(0, 1)
    lower = torch.full_like(wanted, -_STEEPEST)
    upper = -lower
    steep = torch.logit(wanted, eps=1e-6).clamp(-_STEEPEST, _STEEPEST)
    for _ in range(_STEPS):
        shares = torch.softmax(steep * place, dim=1)
        mean = (shares * place).sum(1, keepdim=True)
        spread = (shares * (place - mean).square()).sum(1, keepdim=True)
        above = mean > wanted
        lower, upper = torch.where(above, lower, steep), torch.where(above, steep, upper)
        step = steep - (mean - wanted) / spread.clamp_min(1e-12)
        steep = torch.where((step >= lower) & (step <= upper), step, (lower + upper) / 2)
    shares = torch.softmax(steep * place, dim=1)
    return torch.where(equal, 1 / sources.shape[1], shares)
