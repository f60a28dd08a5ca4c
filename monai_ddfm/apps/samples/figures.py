r"""Figures of calibration: how often intervals hold the truth, and whether doubt finds errors.

With the fusion f, the deviation s of its N draws and the truth t, a voxel is inside the interval of
level p if :math:`|t - f| \le q_p\,s` with the quantile :math:`q_p` that runs use
(`monai_ddfm.inferers.ensemble`). That is asked of all voxels, and of each tenth of them by s, for
intervals may be right on average alone. A weight is wrong if it is off by more than a fifth, and
found if doubt, one less the stability, ranks wrong voxels before right ones: the area under that
curve is

.. math::
    \text{AUC} = P(\text{doubt}_\text{wrong} > \text{doubt}_\text{right}) + \tfrac12 P(=) .
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monai_ddfm.inferers.ensemble import deviations_of

__all__ = ["LEVELS", "area_under_curve", "by_width", "covered", "share_right"]

Array = NDArray[np.float64]

LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_TENTHS: Final = 10


def covered(fused: Array, truth: Array, deviation: Array, *, count: int) -> list[float]:
    """Return the share of voxels whose interval of each of `LEVELS` holds the truth.

    Args:
        fused: luminance, [n].
        truth: likewise.
        deviation: of the draws from the fusion.
        count: N.
    """
    error = np.abs(truth - fused)
    return [float((error <= deviations_of(p, count) * deviation).mean()) for p in LEVELS]


def by_width(inside: NDArray[np.bool_], deviation: Array) -> list[float]:
    """Return the share inside of each tenth of the voxels, those of the narrowest intervals first.

    Args:
        inside: which intervals hold the truth, [n].
        deviation: to which they are proportional, [n].
    """
    order = np.argsort(deviation, kind="stable")
    return [float(inside[part].mean()) for part in np.array_split(order, _TENTHS)]


def area_under_curve(doubt: Array, wrong: NDArray[np.bool_]) -> float | None:
    """Return how well doubt tells wrong from right; None if there is only one of them.

    Args:
        doubt: larger where an error is likelier, [n].
        wrong: where there is one.

    Returns:
        1 for always, 0.5 for by chance, below that if doubt misleads.
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
