r"""Which part of a fused value is of which source: the most even shares that give it.

A value f between the sources :math:`s_0, \dots, s_N` is a mean of them in many ways as soon as
there are three. Of all shares with :math:`\sum_k w_k = 1` and :math:`\sum_k w_k s_k = f` these are
the ones with the largest entropy, which prefer no source without reason [1]:

.. math::

    w_k = \frac{e^{\lambda u_k}}{\sum_j e^{\lambda u_j}}, \qquad
    u_k = \frac{s_k - \min_j s_j}{\max_j s_j - \min_j s_j},

with the one number :math:`\lambda` for which the mean is f. It is found by Newton's method on the
logit of the mean, kept within a bracket that halves where a step would leave it: the mean
:math:`m = \sum_k w_k u_k` rises with :math:`\lambda`, and its logit does so nearly in a line,

.. math::

    \frac{d}{d \lambda} \log \frac{m}{1 - m} = \frac{\sum_k w_k (u_k - m)^2}{m (1 - m)} .

Of two sources that slope is 1, and :math:`w_1 = (f - s_0) / (s_1 - s_0)`. Sources that agree share
alike; where all agree, every share is as good, and all are equal.

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
# Nearer to an end than this a value counts as that near: its logit is finite.
_NEAREST: Final = 1e-6
# Of two sources that differ by a thousandth of the range, near an end.
_STEEPEST: Final = 2e4
_STEPS: Final = 12
_LEAST: Final = 1e-9


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
    wanted = torch.logit(wanted, eps=_NEAREST)
    lower = torch.full_like(wanted, -_STEEPEST)
    upper, steep = -lower, wanted
    for _ in range(_STEPS):
        shares = torch.softmax(steep * place, dim=1)
        mean = (shares * place).sum(1, keepdim=True)
        spread = (shares * (place - mean).square()).sum(1, keepdim=True)
        beyond = torch.logit(mean, eps=_LEAST) - wanted
        lower, upper = torch.where(beyond > 0, lower, steep), torch.where(beyond > 0, steep, upper)
        step = steep - beyond * (mean * (1 - mean)).clamp_min(_LEAST) / spread.clamp_min(_LEAST)
        steep = torch.where((step >= lower) & (step <= upper), step, (lower + upper) / 2)
    shares = torch.softmax(steep * place, dim=1)
    return torch.where(equal, 1 / sources.shape[1], shares)
