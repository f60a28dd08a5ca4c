r"""Which values of a figure stand out.

With the median m of the values and the median absolute deviation d = median(\|x - m\|), a value
stands out if

    0.6745 \|x - m\| / d > 3.5,

the modified z-score of Iglewicz and Hoaglin [1]; 0.6745 d estimates one standard deviation of a
normal distribution. Where more than half of the values are equal, d is 0 and the mean absolute
deviation takes its place, with 0.7979 for 0.6745. Each modality is judged by itself, and from five
values on.

References:
    [1] B. Iglewicz and D. Hoaglin, "How to Detect and Handle Outliers", ASQC Quality Press, 1993.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["outliers", "outlying"]

_LIMIT = 3.5
_LEAST = 5
_TINY = 1e-12


def outliers(values: Sequence[float | None]) -> list[bool]:
    """Return which values stand out.

    Args:
        values: of one figure; None, infinite and NaN are passed over.

    Returns:
        A truth value for each.
    """
    plain = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    finite = plain[np.isfinite(plain)]
    if len(finite) < _LEAST:
        return [False] * len(plain)
    distances = np.abs(plain - np.median(finite))
    known = distances[np.isfinite(plain)]
    spread, factor = float(np.median(known)), 0.6745
    if spread <= _TINY * max(1.0, float(np.abs(finite).max())):
        spread, factor = float(known.mean()), 0.7979
    if spread <= _TINY * max(1.0, float(np.abs(finite).max())):
        return [False] * len(plain)
    return [bool(score > _LIMIT) for score in np.nan_to_num(factor * distances / spread, posinf=0)]


def outlying(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> list[list[str]]:
    """Return for each row the figures in which it stands out within its modality.

    Args:
        rows: with ``modality`` and ``figures``.
        names: of the figures.
    """
    found: list[list[str]] = [[] for _ in rows]
    for modality in {str(row["modality"]) for row in rows}:
        members = [i for i, row in enumerate(rows) if row["modality"] == modality]
        for name in names:
            values = [_number(rows[i], name) for i in members]
            for i, outlier in zip(members, outliers(values), strict=True):
                if outlier:
                    found[i].append(name)
    return found


def _number(row: Mapping[str, object], name: str) -> float | None:
    figures = row["figures"]
    value = figures.get(name) if isinstance(figures, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
