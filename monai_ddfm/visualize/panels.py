"""What the pictures of a run show: its volumes, each with the gray scale that the fusion saw.

A panel maps values to levels in [0, 1], linearly between its knots. Two knots are the usual window;
the CT window "fusion" has a third, and the landmarks of an MRI have more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_ddfm.sources import Moved, Source
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.reports import by_role, collect_reports, reports_of
from monai_ddfm.visualize.legend import Legend, legend_of
from monai_ddfm.visualize.views import robust_window

__all__ = ["Panel", "channels_last", "mean_of_channels", "panels_of"]

_Scale = tuple[tuple[float, ...] | None, tuple[float, ...] | None]
_NO_SCALE: _Scale = (None, None)


@dataclass(frozen=True)
class Panel:
    """One volume as it is shown.

    Attributes:
        title: heading.
        data: [H, W, D] or [1, H, W, D] values, black where they are NaN; or [3, H, W, D] colors in
            [0, 1].
        window: values drawn as `levels`, strictly increasing; by default `robust_window`.
        levels: strictly increasing from 0 to 1; by default evenly spaced.
        colors: name of a table in `monai_ddfm.utils.color.COLOR_TABLES`.
        scale: caption of the color bar; None draws no bar.
        units: of the values, if they are a quantity that was measured.
        legend: for colors that stand for two values; None draws none.
    """

    title: str
    data: Any
    window: tuple[float, ...] | None = None
    levels: tuple[float, ...] | None = None
    colors: str = "gray"
    scale: str | None = None
    units: str = ""
    legend: Legend | None = None

    def knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the values and the levels between which the map is linear."""
        window = np.array(self.window or robust_window(as_array(self.data)), dtype=np.float64)
        levels = self.levels or tuple(np.linspace(0, 1, len(window)))
        return window, np.array(levels, dtype=np.float64)


def channels_last(data: Any) -> NDArray[Any]:
    """Return the data of a panel as [H, W, D, C], C being 1 or 3.

    Raises:
        ValueError: it has another shape.
    """
    volume = as_array(data)
    if volume.ndim == 3:
        volume = volume[None]
    if volume.ndim != 4 or volume.shape[0] not in (1, 3):
        raise ValueError(f"expected [H, W, D], [1, H, W, D] or [3, H, W, D], got {volume.shape}")
    return np.moveaxis(volume, 0, -1)


def mean_of_channels(volume: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of the channels of [H, W, D, C]; a view, where there is one channel."""
    return volume[..., 0] if volume.shape[-1] == 1 else volume.mean(axis=-1)


def panels_of(
    case: Mapping[Hashable, Any],
    *,
    fixed: Any,
    moved: Sequence[Moved],
    fused: Any,
) -> list[Panel]:
    """Return the panels of a run: MRI, moving volumes, fusion, and weights if there are any.

    Args:
        case: the case at the end of the chain; the reports of its volumes tell windows and colors.
        fixed: [1, H, W, D] in its own units.
        moved: the moving volumes and their shares.
        fused: [1, H, W, D] luminance or [3, H, W, D] colors, in [0, 1].
    """
    reports = collect_reports(case)
    scales = [_scales(case, one, reports.get("intensity", {})) for one in moved]
    own, own_levels = scales[0].get("fixed", _NO_SCALE)
    fixed = as_array(fixed)
    panels = [Panel("MRI (fixed)", fixed, own, own_levels, units="a.u.")]
    for one, scale in zip(moved, scales, strict=True):
        panels.append(_moving_panel(one, scale.get("moving", _NO_SCALE), reports))
    legend = None
    colored = [n for n, one in enumerate(moved) if _color_table(reports, one.source)]
    if len(colored) == 1:  # of two, a color stands for more than two values
        window, levels = scales[colored[0]].get("moving", _NO_SCALE)
        legend = _legend(reports, panels[1 + colored[0]].units, window, levels)
    panels.append(Panel("Fused", fused, (0.0, 1.0), legend=legend))
    shown = _foreground(fixed)
    for one in moved:
        shown = shown | _foreground(as_array(one.volume))
    for one in moved:
        if one.weight is not None:
            name = one.source.title
            weight = np.where(shown, as_array(one.weight), np.nan)
            only = "MRI only" if len(moved) == 1 else "none"
            title = "Weight" if len(moved) == 1 else f"Weight of {name}"
            caption = f"0: {only}, 1: {name} only"
            panels.append(Panel(title, weight, (0.0, 1.0), colors="viridis", scale=caption))
    return panels


def _moving_panel(
    one: Moved, scale: _Scale, reports: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> Panel:
    window, levels = scale
    units = str(one.volume.meta.get("units") or "original units")
    moving = as_array(one.volume)
    in_color = len(moving) == 3
    half = f", middle: {window[1]:g}" if window and len(window) == 3 else ""
    return Panel(
        f"{one.source.title} (registered)",
        moving / 255 if in_color else moving,
        window,
        levels,
        colors=_color_table(reports, one.source) or "gray",
        scale=None if in_color else f"{units}{half}",
        units=units,
    )


def _scales(
    case: Mapping[Hashable, Any], one: Moved, reports: Mapping[str, Mapping[str, Any]]
) -> dict[str, _Scale]:
    """Return the gray scales of the MRI and of a moving volume, "fixed" and "moving"."""
    roles = by_role(reports, one.source.modality)
    if one.source.name:
        own = reports_of(case[one.source.scaled_key]) if one.source.scaled_key in case else {}
        roles = {**roles, "moving": own.get("intensity", {})}
    return _maps(roles)


def _maps(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, _Scale]:
    """Return, by role, the values and the levels of the map by which a volume was fused."""
    found: dict[str, _Scale] = {}
    for role, report in reports.items():
        knots, values = report.get("knots"), report.get("values")
        if not knots or not values:
            knots, values = [report.get("lower"), report.get("upper")], [-1.0, 1.0]
        if None not in knots and (np.diff(knots) > 0).all():
            levels = tuple((float(value) + 1) / 2 for value in values)
            found[role] = (tuple(float(knot) for knot in knots), levels)
    return found


def _legend(
    reports: Mapping[str, Mapping[str, Mapping[str, Any]]],
    units: str,
    window: tuple[float, ...] | None,
    levels: tuple[float, ...] | None,
) -> Legend | None:
    """Return the legend of the fusion in color; None if its color comes from no table."""
    found = (legend_of(report) for report in reports.get("color", {}).values())
    legend = next((one for one in found if one is not None), None)
    if legend is None or not window or not levels or len(window) != 2:
        return legend
    return replace(legend, ends=(window[0], window[-1]), units=units)


def _color_table(
    reports: Mapping[str, Mapping[str, Mapping[str, Any]]], source: Source
) -> str | None:
    """Return the table by which a moving volume was colored, if it was."""
    for report in reports.get("color", {}).values():
        table = report.get("color_tables", {}).get(source.name, report.get("color_table"))
        if table:
            return str(table)
    return None


def _foreground(volume: NDArray[Any]) -> NDArray[np.bool_]:
    """Return [1, H, W, D], true where there is more than a twentieth of the window."""
    luminance = volume if len(volume) == 1 else volume.mean(axis=0, keepdims=True)
    low, high = robust_window(luminance)
    return np.asarray(luminance > low + 0.05 * (high - low))
