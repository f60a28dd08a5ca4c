r"""How much of the sources' edges is left in the fused image (Qabf).

From Sobel's derivatives :math:`s_x, s_y` (zero outside the image), an edge has the strength
:math:`g = \sqrt{s_x^2 + s_y^2}` and the orientation :math:`\alpha = \arctan(s_y / s_x)`. From
source a to the fused image f the relative strength and orientation are

.. math::
    G = \min(g_f / g_a,\ g_a / g_f), \qquad A = 1 - \frac{|\alpha_a - \alpha_f|}{\pi / 2}

and both are judged by a sigmoid:

.. math::
    Q^{af} = \frac{0.9994}{1 + e^{-15 (G - 0.5)}} \cdot \frac{0.9879}{1 + e^{-22 (A - 0.8)}}, \qquad
    Q^{ab/f} = \frac{\sum Q^{af} g_a + Q^{bf} g_b}{\sum g_a + g_b}

The best possible value, f = a = b, is 0.9748 and not 1. The literature's evaluator sets G to the
strength itself, instead of to 1, where both strengths are equal; with integer levels this is at
least 1 and moves the result by less than 0.0006.

References:
    [1] C. S. Xydeas, V. Petrovic, Objective image fusion performance measure, Electronics Letters
        36 (2000).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["edge_preservation"]

_STRENGTH: Final = (0.9994, -15.0, 0.5)
_ORIENTATION: Final = (0.9879, -22.0, 0.8)


def edge_preservation(
    fused: Tensor, first: Tensor, second: Tensor, *, equal_as_evaluator: bool = False
) -> Tensor:
    """Return the share of the edges of both sources that the fused image keeps.

    Args:
        fused: [N, H, W] on the scale 0 to 255.
        first: one source, same shape.
        second: the other.
        equal_as_evaluator: treat equal strengths as the literature's evaluator does, see the
            module.

    Returns:
        [N] in [0, 0.976); NaN where neither source has an edge.
    """
    strength_f, angle_f = _edges(fused)
    weighted, weights = [], []
    for source in (first, second):
        strength, angle = _edges(source)
        larger = torch.maximum(strength, strength_f)
        ratio = torch.minimum(strength, strength_f) / torch.where(larger > 0, larger, 1.0)
        equal = strength_f if equal_as_evaluator else torch.ones_like(strength_f)
        ratio = torch.where(strength == strength_f, equal, ratio)
        turn = 1 - (angle - angle_f).abs() / (math.pi / 2)
        kept = _sigmoid(ratio, *_STRENGTH) * _sigmoid(turn, *_ORIENTATION)
        weighted.append((kept * strength).flatten(1).sum(dim=1))
        weights.append(strength.flatten(1).sum(dim=1))
    return (weighted[0] + weighted[1]) / (weights[0] + weights[1])


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return strength and orientation in [-pi/2, pi/2] of Sobel's gradient."""
    padded = functional.pad(image, (1, 1, 1, 1))
    along_x = padded[..., 2:] - padded[..., :-2]
    along_x = along_x[:, :-2] + 2 * along_x[:, 1:-1] + along_x[:, 2:]
    along_y = padded[:, :-2] - padded[:, 2:]
    along_y = along_y[..., :-2] + 2 * along_y[..., 1:-1] + along_y[..., 2:]
    upright = along_x == 0
    angle = torch.atan(along_y / along_x.masked_fill(upright, 1.0))
    strength = (along_x.square() + along_y.square()).sqrt()
    return strength, angle.masked_fill(upright, math.pi / 2)


def _sigmoid(value: Tensor, scale: float, slope: float, center: float) -> Tensor:
    return scale * torch.sigmoid(-slope * (value - center))
