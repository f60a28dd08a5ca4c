"""Plots of benchmarks: a figure without a window, and its PNG file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_ddfm.utils.files import NOTICE, atomic_path

__all__ = ["new_figure", "write_figure"]


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of a width and a height in inches."""
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a PNG file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None, "Description": NOTICE})
