r"""Figures of calibration: how often intervals hold the truth, and whether doubt finds errors.

With the fusion f, the deviation s of its N draws and the truth t, a voxel is inside the interval of
level p if :math:`|t - f| \le q_p\,s` with the quantile :math:`q_p` of Student's distribution of N
degrees of freedom, to a gray level of 255, below which nothing is seen. Errors are found if doubt,
one less the stability, ranks wrong voxels before right ones: the area under that curve is

.. math::
    \text{AUC} = P(\text{doubt}_\text{wrong} > \text{doubt}_\text{right}) + \tfrac12 P(=) .
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["LEVELS", "area_under_curve", "covered", "share_right"]

Array = NDArray[np.float64]

LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_GRAY_LEVEL: Final = 0.5 / 255  # either way


def covered(fused: Array, truth: Array, deviation: Array, *, count: int) -> list[float]:
    """Return the share of voxels whose interval of each of `LEVELS` holds the truth.

    Args:
        fused: luminance, [n].
        truth: likewise.
        deviation: of the draws from the fusion.
        count: N.
    """
    error = np.abs(truth - fused)
    reach = [float(stats.t.ppf((1 + level) / 2, count)) for level in LEVELS]
    return [float((error <= np.maximum(q * deviation, _GRAY_LEVEL)).mean()) for q in reach]


def area_under_curve(doubt: Array, wrong: NDArray[np.bool_]) -> float | None:
    """Return how well doubt tells wrong from right, .5 to 1; None if there is only one of them.

    Args:
        doubt: larger where an error is likelier, [n].
        wrong: where there is one.
    """
    bad = int(wrong.sum())
    good = wrong.size - bad
    if not bad or not good:
        return None
    ranks = stats.rankdata(doubt)
    return float((ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def share_right(
    stability: Array, wrong: NDArray[np.bool_], edges: Array
) -> list[tuple[float, float, int]]:
    """Return the mean stability, the share of right voxels and the number of voxels, by stability.

    Args:
        stability: [n].
        wrong: where the weight is.
        edges: of the groups of stability; empty groups are left out.
    """
    group = np.digitize(stability, edges[1:-1])
    rows = []
    for number in range(len(edges) - 1):
        here = group == number
        if here.any():
            rows.append(
                (float(stability[here].mean()), float((~wrong[here]).mean()), int(here.sum()))
            )
    return rows
