"""What noise robustness costs: one plot with a point for each method, a curve for each family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from monai_ddfm.apps.benchmark.tables import BenchmarkResult
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.visualize.plots import new_figure, write_figure

__all__ = ["draw_tradeoff", "families", "pair_title"]

_ROWS: Final = ("SF", "VIF", "Qabf", "MI")
_MAX_ROWS: Final = 3
_PANEL: Final = (4.2, 3.0)
_ALL_NAMED: Final = 3


def draw_tradeoff(path: Path, result: BenchmarkResult, *, noise: str) -> None:
    """Draw figures of the clean result over the PSNR of fused(noisy) against fused(clean).

    Up and to the right is better. Presets whose options have the same names are joined by a line
    in the order of the first number among them.

    Args:
        path: the PNG file.
        result: with rows of robustness for `noise`.
        noise: which of the noises.

    Raises:
        InputError: if the file cannot be written.
    """
    rows = [name for name in _ROWS if name in result.metrics][:_MAX_ROWS] or result.metrics[:1]
    modalities = result.modalities
    size = (_PANEL[0] * len(modalities), _PANEL[1] * len(rows) + 0.4)
    figure = new_figure(size)
    axes = figure.subplots(len(rows), len(modalities), squeeze=False, sharex="col")
    for row, metric in enumerate(rows):
        for column, modality in enumerate(modalities):
            _panel(axes[row][column], result, modality=modality, metric=metric, noise=noise)
            if row == 0:
                axes[row][column].set_title(pair_title(modality))
            if row == len(rows) - 1:
                axes[row][column].set_xlabel("PSNR of fused(noisy) in dB")
            if column == 0:
                axes[row][column].set_ylabel(metric)
    kind, _, sigma = noise.partition(":")
    figure.suptitle(f"{kind} noise, {sigma} of 255   -   {NOTICE}", fontsize=9)
    write_figure(figure, path)


def families(methods: Mapping[str, Mapping[str, Any]], baselines: Sequence[str]) -> list[list[str]]:
    """Group the labels of presets whose options have the same names and the same texts.

    Args:
        methods: name and options of each method by label.
        baselines: labels that stay by themselves.

    Returns:
        Labels of each family, by the first number among their options, in the order of appearance.
    """
    groups: dict[object, list[str]] = {}
    for label, about in methods.items():
        texts = tuple(sorted((k, v) for k, v in about.items() if isinstance(v, str)))
        key: object = label if label in baselines else (texts, tuple(sorted(about)))
        groups.setdefault(key, []).append(label)
    return [sorted(group, key=lambda label: _numbers(methods[label])) for group in groups.values()]


def pair_title(modality: str) -> str:
    """Return what pairs of a modality are called over a panel."""
    return f"MRI-{modality}" if modality != "IR" else "visible-IR"


def _numbers(about: Mapping[str, Any]) -> list[float]:
    return [float(v) for _, v in sorted(about.items()) if isinstance(v, int | float)]


def _difference(label: str, first: str) -> str:
    """Return the options of a label that another one does not have."""
    own = re.split("[:,]", label)
    return ",".join(part for part in own if part not in re.split("[:,]", first)) or label


def _panel(axes: Axes, result: BenchmarkResult, *, modality: str, metric: str, noise: str) -> None:
    stretch = min(row.stretch for row in result.rows)
    methods = result.settings.get("methods", {label: {} for label in result.methods})
    for family in families(methods, result.baselines):
        points = [
            (
                result.robustness_mean("PSNR", modality=modality, method=label, noise=noise),
                result.mean(metric, modality=modality, method=label, stretch=stretch),
            )
            for label in family
        ]
        marker = "s" if family[0] in result.baselines else "o"
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1)
        names = [family[0], *(_difference(label, family[0]) for label in family[1:])]
        if len(family) > _ALL_NAMED:  # Labels along a line would hide each other.
            names, points = [names[0], names[-1]], [points[0], points[-1]]
        for number, (name, point) in enumerate(zip(names, points, strict=True)):
            text = axes.annotate(
                name,
                point,
                xytext=(4, 3) if number == 0 else (4, -9),
                textcoords="offset points",
                fontsize=6,
                parse_math=False,
            )
            # The panels keep their size, however long a label is.
            text.set_in_layout(False)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    axes.margins(x=0.28, y=0.12)
