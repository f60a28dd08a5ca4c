"""Efficiencies of all methods, and what the worst single signal costs in the worst of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from monai_ddfm.apps.benchmark.lesions.tables import LesionResult
from monai_ddfm.apps.benchmark.plots import pair_title
from monai_ddfm.metrics.observer import SIGNALS, Detection, Lesion
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.visualize.plots import new_figure, write_figure

__all__ = ["draw_detection"]

_PANEL: Final = (4.4, 3.4)
_MARKERS: Final = ("^", "v", "^", "v", "^", "v", "d", "d")
_COLORS: Final = ("C0", "C0", "C1", "C1", "C2", "C2", "C3", "C3")


def draw_detection(path: Path, result: LesionResult, *, lesion: Lesion, noise: str = "") -> None:
    """Draw the efficiencies of the eight signals, and the worst of all over the worst of four.

    The upper panels have a line for each method: a mark for each signal, a bar for the mean. In the
    lower panels up and to the right is better; error bars are the intervals of the bootstrap.

    Args:
        path: the PNG file.
        result: with rows for the lesion and the noise.
        lesion: which of the lesions.
        noise: which of the noises; empty is none.

    Raises:
        InputError: if the file cannot be written.
    """
    tables = [table for table in result.tables() if table[2:] == (noise, lesion)]
    size = (_PANEL[0] * len(tables), 2 * _PANEL[1] + 0.4)
    figure = new_figure(size)
    axes = figure.subplots(2, len(tables), squeeze=False)
    for column, table in enumerate(tables):
        found = result.of_table(table)
        axes[0][column].set_title(f"{pair_title(table[0])}, {table[1]}")
        _signals(axes[0][column], found)
        _tradeoff(axes[1][column], found)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=9, fontsize=7)
    added = f", {noise} noise" if noise else ""
    figure.suptitle(f"{lesion}{added}   -   {NOTICE}", fontsize=9)
    write_figure(figure, path)


def _signals(axes: Axes, found: Mapping[str, Detection]) -> None:
    rows = range(len(found))
    for number, name in enumerate(SIGNALS):
        values = [detection.efficiency[number] for detection in found.values()]
        style: dict[str, Any] = {"marker": _MARKERS[number], "color": _COLORS[number]}
        filled = "full" if name.endswith("+") else "none"
        axes.plot(values, rows, linestyle="", markersize=4, fillstyle=filled, label=name, **style)
    means = [detection.summary[2] for detection in found.values()]
    axes.plot(means, rows, linestyle="", marker="|", markersize=11, color="black", label="mean")
    axes.set_yticks(rows, list(found), fontsize=6, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("efficiency")
    axes.axvline(1, color="0.7", linewidth=0.8)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.tick_params(axis="x", labelsize=7)


def _tradeoff(axes: Axes, found: Mapping[str, Detection]) -> None:
    for number, (label, detection) in enumerate(found.items()):
        ends = detection.summary_interval
        point = (detection.summary[0], detection.summary[1])
        spans = [
            [[max(0.0, value - low)], [max(0.0, high - value)]]
            for value, (low, high) in zip(point, ends, strict=False)
        ]
        x, y = point
        style: dict[str, Any] = {
            "color": f"C{number % 10}",
            "markersize": 4,
            "linewidth": 0.6,
            "marker": "o",
        }
        axes.errorbar(x, y, xerr=spans[0], yerr=spans[1], **style)
        offset = (4, 3) if number % 2 else (4, -8)
        text = axes.annotate(
            label, point, xytext=offset, textcoords="offset points", fontsize=6, parse_math=False
        )
        # The panels keep their size, however long a label is.
        text.set_in_layout(False)
    axes.set_xlabel("worst of the signals in one source")
    axes.set_ylabel("worst of all eight")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
