"""What steps buy: figures of quality over evaluations of the network, a curve for each way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes

from monai_ddfm.apps.benchmark.plots import pair_title
from monai_ddfm.apps.benchmark.tables import BenchmarkResult
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.visualize.plots import new_figure, write_figure

__all__ = ["draw_curves", "ways"]

_ROWS: Final = ("VIF", "Qabf", "MI")
_PANEL: Final = (4.2, 2.7)
# What a curve runs along; all other options tell one curve from another.
_ALONG: Final = ("steps", "early_stop")


def draw_curves(path: Path, result: BenchmarkResult) -> None:
    """Draw figures over the evaluations of the network for one slice.

    The rows are figures of the clean result and, if there is noise, the PSNR of fused(noisy)
    against fused(clean) for the first kind of it. Methods that differ in their steps or in the
    tolerance of the early stop are joined; plain rules are dashed lines.

    Args:
        path: the PNG file.
        result: with evaluations in its rows.

    Raises:
        InputError: if the file cannot be written.
    """
    rows = [name for name in _ROWS if name in result.metrics] or list(result.metrics[:3])
    noise = result.robustness[0].noise if result.robustness else None
    panels = [*rows, *([f"PSNR, {noise}"] if noise else [])]
    modalities = result.modalities
    size = (_PANEL[0] * len(modalities), _PANEL[1] * len(panels) + 1.2)
    figure = new_figure(size)
    axes = figure.subplots(len(panels), len(modalities), squeeze=False, sharex=True)
    for row, name in enumerate(panels):
        for column, modality in enumerate(modalities):
            _panel(axes[row][column], result, modality, name, noise if row == len(rows) else None)
            if row == 0:
                axes[row][column].set_title(pair_title(modality))
            if column == 0:
                axes[row][column].set_ylabel(name)
            if row == len(panels) - 1:
                axes[row][column].set_xlabel("evaluations of the network per slice")
    handles, labels = axes[0][0].get_legend_handles_labels()
    lines = -(-len(labels) // len(modalities))
    figure.set_figheight(size[1] + 0.15 * lines)
    figure.legend(handles, labels, loc="outside lower left", ncols=len(modalities), fontsize=6)
    figure.suptitle(f"quality over network evaluations\n{NOTICE}", fontsize=8)
    write_figure(figure, path)


def ways(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Group methods that differ only in how many steps they take or when they stop.

    Args:
        methods: name and options of each method by label.

    Returns:
        Labels by the name of the group: the method with the options that they share.
    """
    groups: dict[str, list[str]] = {}
    for label, about in methods.items():
        shared = [f"{key}={value}" for key, value in about.items() if key not in (*_ALONG, "name")]
        if "early_stop" in about:
            shared.append("early stop")
        name = str(about.get("name", label))
        groups.setdefault(f"{name}: {', '.join(shared)}" if shared else name, []).append(label)
    return groups


def _panel(
    axes: Axes, result: BenchmarkResult, modality: str, figure: str, noise: str | None
) -> None:
    stretch = min(row.stretch for row in result.rows)

    def value(label: str) -> float:
        if noise is not None:
            return result.robustness_mean("PSNR", modality=modality, method=label, noise=noise)
        return result.mean(figure, modality=modality, method=label, stretch=stretch)

    methods = result.settings.get("methods", {label: {} for label in result.methods})
    for number, (name, labels) in enumerate(ways(methods).items()):
        cost = {label: result.evaluations(label, modality=modality) for label in labels}
        drawn = sorted((n, value(label)) for label, n in cost.items() if n > 0)
        style: dict[str, Any] = {"color": f"C{number % 10}", "linewidth": 1, "label": name}
        if drawn:
            axes.plot(*zip(*drawn, strict=True), marker="o", markersize=4, **style)
        else:
            axes.axhline(value(labels[0]), linestyle="--", **style)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
