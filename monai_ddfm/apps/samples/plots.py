"""The reliability plot: what intervals and stability say, and how often it is so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from monai_ddfm.apps.samples.figures import LEVELS
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.visualize.plots import new_figure, write_figure

__all__ = ["draw_reliability"]

Row = Mapping[str, Any]

_SIZE: Final = (8.4, 4.2)
_GOAL: Final = (0.87, 0.93)


def draw_reliability(path: Path, rows: Sequence[Row]) -> None:
    """Draw how often the truth is inside the intervals, and weights are right, over what is said.

    Args:
        path: the PNG file.
        rows: of a `SamplesResult`; those of one modality make a thick line of their mean, and thin
            ones.

    Raises:
        InputError: if the file cannot be written.
    """
    figure = new_figure(_SIZE)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    left.fill_between([0.88, 0.92], _GOAL[0], _GOAL[1], color="0.8")
    for number, modality in enumerate(dict.fromkeys(row["modality"] for row in rows)):
        own = [row for row in rows if row["modality"] == modality]
        _intervals(left, own, f"C{number}", modality)
        _stability(right, own, f"C{number}", modality)
    left.set_xlabel("said: probability of the interval")
    left.set_ylabel("found: share of voxels with the truth in it")
    right.set_xlabel("said: stability of the weight")
    right.set_ylabel("found: share of weights right within 0.2")
    left.legend(fontsize=8, loc="upper left")
    figure.suptitle(f"intervals of the luminance, and weights\n{NOTICE}", fontsize=9)
    write_figure(figure, path)


def _intervals(axes: Axes, rows: Sequence[Row], color: str, label: str) -> None:
    curves = np.array([row["by_level"] for row in rows])
    for curve in curves:
        axes.plot(LEVELS, curve, color=color, linewidth=0.6, alpha=0.6)
    axes.plot(LEVELS, curves.mean(axis=0), color=color, marker="o", markersize=4, label=label)


def _stability(axes: Axes, rows: Sequence[Row], color: str, label: str) -> None:
    groups = np.array([part for row in rows for part in row["by_stability"]])
    for place in np.unique(np.floor(groups[:, 0] * 20) / 20):
        here = groups[np.floor(groups[:, 0] * 20) / 20 == place]
        said, found = np.average(here[:, :2], axis=0, weights=here[:, 2])
        axes.plot(said, found, color=color, marker="o", markersize=4, label=label)
