"""Histograms of the volumes of a report, as SVG: counts on a logarithmic scale, and the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.slabs import slabs
from monai_ddfm.visualize.panels import Panel

__all__ = ["histogram_svg"]

_BINS, _WIDTH, _HEIGHT, _FOOT = 96, 288, 110, 18


def histogram_svg(panel: Panel) -> str:
    """Draw the histogram of a panel's values, of its luminance if it is in color.

    Args:
        panel: the volume; voxels that are NaN are left out.

    Returns:
        An ``<svg>`` element with one ``rect`` for each bin that is not empty.
    """
    data = as_array(panel.data)
    in_color = data.ndim == 4 and len(data) == 3
    marks: Sequence[float] = (0.0, 1.0) if in_color else panel.knots()[0].tolist()
    low, high = marks[0], marks[-1]
    for values in _finite(data):
        low, high = min(low, values.min(initial=low)), max(high, values.max(initial=high))
    counts = np.zeros(_BINS, np.int64)
    for values in _finite(data):
        counts += np.histogram(values, bins=_BINS, range=(low + 0.0, high))[0]
    return _draw(panel, counts, float(low) + 0.0, float(high), marks)


def _finite(data: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield the finite values of [H, W, D] or [C, H, W, D], means over channels, in slabs."""
    channels = data if data.ndim == 4 else data[None]
    for part in slabs(channels.shape[1:]):
        values = channels[:, part].mean(axis=0) if len(channels) > 1 else channels[0, part]
        yield values[np.isfinite(values)].astype(np.float64)


def _draw(
    panel: Panel, counts: NDArray[np.int64], low: float, high: float, marks: Sequence[float]
) -> str:
    plot, step = _HEIGHT - _FOOT, _WIDTH / _BINS
    heights = np.log10(1 + counts) / max(np.log10(1 + counts.max()), 1e-9) * (plot - 4)
    bars = "".join(
        f'<rect x="{i * step:.2f}" y="{plot - h:.2f}" width="{step:.2f}" height="{h:.2f}"/>'
        for i, h in enumerate(heights)
        if h > 0
    )

    def place(value: float) -> float:
        return (value - low) / (high - low) * _WIDTH

    lines = "".join(
        f'<line x1="{place(v):.2f}" x2="{place(v):.2f}" y1="0" y2="{plot}"/>' for v in marks
    )
    ends = (
        f'<text x="0" y="{_HEIGHT - 4}">{low:.4g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{high:.4g}</text>'
    )
    label = escape(f"Histogram of {panel.title}, from {low:.4g} to {high:.4g}", quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'<g class="bars">{bars}</g><g class="marks">{lines}</g>{ends}</svg>'
    )
