"""One picture that shows a run at a glance: three planes of every volume, side by side.

Rows are the axial, coronal and sagittal plane through one point, columns the volumes. Pictures are
in the radiological convention, the patient's right on the left; voxels are drawn in millimeters, so
that thick slices keep their proportions. An oblique grid is shown along its own axes, labeled by
the nearest anatomical direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, FuncNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.color import color_table
from monai_ddfm.utils.files import NOTICE, atomic_path
from monai_ddfm.visualize.legend import Legend
from monai_ddfm.visualize.panels import Panel, channels_last, mean_of_channels
from monai_ddfm.visualize.views import PLANES, View, informative_point

__all__ = ["FIRST_ROW", "Panel", "write_preview"]

FIRST_ROW = "First row"
"""Text in the PNG file: left, top, right and bottom pixel of the axial planes."""

_BACKGROUND, _INK, _DIM, _WARNING, _LABEL = "#0d0f12", "#e8eaed", "#8a9199", "#ffb454", "#8fd6ff"
_DPI = 150
# Inches: width of a column, space between pictures, margins.
_COLUMN, _GAP = 2.7, 0.07
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.42, 0.16, 0.78, 0.72
# Inches: a legend of two values, and the margin that it needs.
_LEGEND, _LEGEND_BOTTOM = (1.2, 0.75), 1.48
# Letters of each plane and where they stand.
_LETTERS = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))
_SPOTS = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)


_Scale = tuple[Normalize, Colormap]


def write_preview(
    path: str | Path,
    panels: Sequence[Panel],
    affine: Any,
    *,
    title: str = "",
    point: tuple[int, int, int] | None = None,
) -> None:
    """Draw three planes of each panel into a PNG file, whole or not at all.

    Args:
        path: the PNG file.
        panels: the columns, all on one grid; the first decides which part is shown.
        affine: [4, 4], voxel indices of that grid to RAS millimeters.
        title: heading of the picture.
        point: voxel indices through which the planes go; by default `informative_point` of the
            first two panels.

    Raises:
        ValueError: no panel, or panels of different shape.
        InputError: the file cannot be written.
    """
    volumes = [channels_last(panel.data) for panel in panels]
    if not volumes or len({volume.shape[:3] for volume in volumes}) != 1:
        raise ValueError(f"panels must share a grid, got {[v.shape for v in volumes]}")
    affine = as_array(affine).astype(np.float64)
    first, second = (mean_of_channels(volumes[min(i, len(volumes) - 1)]) for i in (0, 1))
    point = point or informative_point(first, second)
    view = View.around(first, affine, point)
    caption = _caption(view, apply_affine(affine, point))
    figure = _draw(volumes, panels, view, title, caption)
    about = {"Title": title or "preview", "Description": NOTICE, "Software": None}
    about[FIRST_ROW] = " ".join(map(str, _first_row(view, len(panels))))
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            format="png",
            dpi=_DPI,
            facecolor=_BACKGROUND,
            metadata=about,
            pil_kwargs={"compress_level": 4},  # half the time of 6, and 7 % larger
        )


def _first_row(view: View, columns: int) -> tuple[int, int, int, int]:
    """Return where the axial plane of all volumes is, in pixels: left, top, right, bottom."""
    high = view.extent(0)[1] * _COLUMN / view.widest
    right = _LEFT + columns * (_COLUMN + _GAP) - _GAP
    inches = (_LEFT, _TOP, right, _TOP + high)
    return tuple(round(edge * _DPI) for edge in inches)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Box:
    """A rectangle of the picture, in inches from its left and top."""

    left: float
    top: float
    wide: float
    high: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top, as `Axes.imshow` takes them."""
        return (self.left, self.left + self.wide, self.top + self.high, self.top)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return a place from shares of the width, to the right, and of the height, upward."""
        return self.left + x * self.wide, self.top + (1 - y) * self.high


def _draw(
    volumes: Sequence[NDArray[Any]],
    panels: Sequence[Panel],
    view: View,
    title: str,
    caption: str,
) -> Figure:
    heights = [view.extent(plane)[1] * _COLUMN / view.widest for plane in range(len(PLANES))]
    width = _LEFT + len(panels) * (_COLUMN + _GAP) - _GAP + _RIGHT
    bottom = _LEGEND_BOTTOM if any(panel.legend for panel in panels) else _BOTTOM
    height = _TOP + sum(heights) + 2 * _GAP + bottom
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    sheet = _sheet(figure)
    for column, (panel, volume) in enumerate(zip(panels, volumes, strict=True)):
        left, top = _LEFT + column * (_COLUMN + _GAP), _TOP
        scale = _scale(panel, volume)
        x, y = (left + _COLUMN / 2) / width, 1 - (_TOP - 0.1) / height
        _text(figure, x, y, panel.title, fontsize=11, va="bottom")
        for plane, name in enumerate(PLANES):
            _show(sheet, _Box(left, top, _COLUMN, heights[plane]), view, plane, volume, scale)
            if column == 0:
                x, y = 0.5 * _LEFT / width, 1 - (top + heights[plane] / 2) / height
                _text(figure, x, y, name, fontsize=10, va="center", rotation=90, color=_DIM)
            top += heights[plane] + _GAP
        if panel.scale is not None and scale is not None:
            bar = _Box(left + 0.35 * _COLUMN, top + 0.06, 0.3 * _COLUMN, 0.07)
            _color_bar(sheet, bar, scale, panel.scale)
        if panel.legend is not None:
            middle = left + (_COLUMN - _LEGEND[0]) / 2
            _draw_legend(sheet, _Box(middle, top + 0.06, *_LEGEND), panel.legend)
    _frame_texts(figure, title, caption)
    return figure


def _sheet(figure: Figure) -> Axes:
    """Return axes over the whole figure in inches; axes for each plane take ten times as long."""
    width, height = figure.get_size_inches()
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set_axis_off()
    sheet.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return sheet


def _frame_texts(figure: Figure, title: str, caption: str) -> None:
    width, height = figure.get_size_inches()
    left, right, top = _LEFT / width, 1 - _RIGHT / width, 1 - 0.2 / height
    _text(figure, left, top, title, fontsize=13, ha="left", va="center", weight="bold")
    _text(figure, right, top, NOTICE, fontsize=8.5, ha="right", va="center", color=_WARNING)
    _text(figure, left, 0.16 / height, caption, fontsize=8, ha="left", va="center", color=_DIM)


def _scale(panel: Panel, volume: NDArray[Any]) -> _Scale | None:
    """Return how values become colors; None for a volume of colors."""
    if volume.shape[-1] == 3:
        return None
    table = ListedColormap(color_table(panel.colors).numpy()).with_extremes(bad="black")
    window, levels = panel.knots()
    if len(window) == 2:
        return Normalize(*window), table

    def forward(values: Any) -> Any:
        return np.interp(values, window, levels)

    def backward(shown: Any) -> Any:
        return np.interp(shown, levels, window)

    return FuncNorm((forward, backward), window[0], window[-1]), table


def _show(
    sheet: Axes, box: _Box, view: View, plane: int, volume: NDArray[Any], scale: _Scale | None
) -> None:
    """Draw one plane in the middle of a black field that is as wide as the widest plane."""
    share = view.extent(plane)[0] / view.widest
    middle = _Box(box.left + (1 - share) / 2 * box.wide, box.top, share * box.wide, box.high)
    picture = view.cut(volume, plane)
    style: dict[str, Any] = {"extent": middle.edges, "aspect": "auto"}
    style |= {"interpolation": "bilinear", "interpolation_stage": "data"}
    if scale is None:
        sheet.imshow(np.clip(np.nan_to_num(picture), 0, 1), **style)
    else:
        sheet.imshow(picture[..., 0], norm=scale[0], cmap=scale[1], **style)
    field = Rectangle((box.left, box.top), box.wide, box.high, color="black", zorder=-1)
    sheet.add_patch(field)
    for letter, (x, y, ha, va) in zip(_LETTERS[plane], _SPOTS, strict=True):
        _label(sheet, box.at(x, y), letter, ha=ha, va=va, color=_LABEL, fontsize=8)
    if plane == 0:
        _scale_bar(sheet, box, view.widest)


def _scale_bar(sheet: Axes, box: _Box, widest: float) -> None:
    length = next((mm for mm in (50, 20, 10, 5, 2, 1) if mm <= widest / 4), widest / 4)
    right, share = 0.975, length / widest
    style: dict[str, Any] = {"color": _INK, "linewidth": 1.5, "solid_capstyle": "butt"}
    (left, y), (end, _) = box.at(right - share, 0.03), box.at(right, 0.03)
    sheet.plot([left, end], [y, y], **style)
    place = box.at(right - share / 2, 0.045)
    _label(sheet, place, f"{length:g} mm", ha="center", va="bottom", fontsize=7)


def _color_bar(sheet: Axes, box: _Box, scale: _Scale, caption: str) -> None:
    levels = np.linspace(0, 1, 256)[None]
    sheet.imshow(levels, cmap=scale[1], vmin=0, vmax=1, extent=box.edges, aspect="auto")
    low, high = scale[0].vmin, scale[0].vmax
    _label(sheet, box.at(-0.04, 0.5), f"{low:.4g}", ha="right", va="center", fontsize=7.5)
    _label(sheet, box.at(1.04, 0.5), f"{high:.4g}", ha="left", va="center", fontsize=7.5)
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 7.5, "color": _DIM}
    _label(sheet, box.at(0.5, -0.5), caption, **style)


def _draw_legend(sheet: Axes, box: _Box, legend: Legend) -> None:
    """Draw the colors by uptake, to the right, and gray level, upward, with their ends."""
    sheet.imshow(legend.colors, extent=box.edges, aspect="auto", interpolation="bilinear")
    low, high = legend.ends
    ends: dict[str, Any] = {"fontsize": 7.5, "va": "top"}
    _label(sheet, box.at(0.0, -0.05), f"{low:.4g}", ha="center", **ends)
    _label(sheet, box.at(1.0, -0.05), f"{high:.4g}", ha="center", **ends)
    # On a line of its own: the ends may be long.
    _label(sheet, box.at(0.5, -0.2), legend.units, ha="center", color=_DIM, **ends)
    side: dict[str, Any] = {"fontsize": 7.5, "ha": "right"}
    _label(sheet, box.at(-0.04, 0.0), "0", va="bottom", **side)
    _label(sheet, box.at(-0.04, 1.0), "1", va="top", **side)
    gray = legend.gray.replace(" ", "\n")
    _label(sheet, box.at(-0.04, 0.5), gray, va="center", color=_DIM, **side)


def _label(sheet: Axes, place: tuple[float, float], text: str, **style: Any) -> None:
    style = {"color": _INK, "parse_math": False, **style}
    outline = [withStroke(linewidth=1.5, foreground="black")]
    sheet.text(*place, text, path_effects=outline, **style)


def _text(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    # Text may come from a user: a dollar sign in it must not start a formula.
    figure.text(x, y, text, **{"ha": "center", "color": _INK, "parse_math": False, **style})


def _caption(view: View, world: NDArray[np.float64]) -> str:
    voxel = " x ".join(f"{mm:.3g}" for mm in view.spacing)
    place = ", ".join(f"{mm:.1f}" for mm in world)
    return (
        "Radiological convention: the patient's right is on the left.   "
        f"Voxels {voxel} mm (R x A x S).   Planes through ({place}) mm RAS."
    )
