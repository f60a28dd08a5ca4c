"""The page itself: pictures, histograms, figures and warnings put into one HTML file.

Nothing is loaded from elsewhere, which a content security policy in the page enforces. All text
that comes from a file, a header or a user is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from monai_ddfm.utils.files import NOTICE, atomic_path
from monai_ddfm.utils.json_files import inside_script, jsonable
from monai_ddfm.visualize.panels import Panel
from monai_ddfm.visualize.report.histograms import histogram_svg
from monai_ddfm.visualize.report.pictures import colors_png, picture_data
from monai_ddfm.visualize.report.summary import figures, warnings

__all__ = ["write_report"]


def write_report(
    path: str | Path,
    panels: Sequence[Panel],
    affine: Any,
    *,
    provenance: Mapping[str, Any],
    title: str = "",
) -> None:
    """Write the report of a run, whole or not at all.

    Args:
        path: the HTML file.
        panels: the volumes, all on one grid: MRI, moving volume, fusion, and weight if there is
            one.
        affine: [4, 4], voxel indices of that grid to RAS millimeters.
        provenance: the record of the run.
        title: heading of the page.

    Raises:
        ValueError: a panel is neither scalar nor RGB.
        InputError: the file cannot be written.
    """
    record = jsonable(provenance)
    page = Template(_part("report.html")).substitute(
        title=escape(title or "Fusion"),
        notice=escape(NOTICE),
        style=_part("report.css"),
        warnings=_warnings(record),
        stops="".join(_stop(i, panel, len(panels)) for i, panel in enumerate(panels)),
        last=len(panels) - 1,
        legends="".join(_legend(panel) for panel in panels),
        histograms="".join(_histogram(panel) for panel in panels),
        figures=_figures(record),
        record=escape(json.dumps(record, indent=2, ensure_ascii=False)),
        data=inside_script(picture_data(panels, affine)),
        script=_part("report.js"),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _warnings(record: Mapping[str, Any]) -> str:
    found = warnings(record)
    if not found:
        return '<p class="fine">No warnings.</p>'
    rows = "".join(f"<li>{escape(text)}</li>" for text in found)
    return f'<ul class="warnings">{rows}</ul>'


def _stop(index: int, panel: Panel, count: int) -> str:
    style = f"--share: {index / max(1, count - 1):.4f}"
    name = escape(panel.title)
    return f'<button type="button" data-stop="{index}" style="{style}">{name}</button>'


def _histogram(panel: Panel) -> str:
    caption = escape(f"{panel.title}{f', {panel.scale}' if panel.scale else ''}")
    return f"<figure>{histogram_svg(panel)}<figcaption>{caption}</figcaption></figure>"


def _legend(panel: Panel) -> str:
    if panel.legend is None:
        return ""
    low, high = panel.legend.ends
    gray, units = escape(panel.legend.gray), escape(panel.legend.units)
    about = (
        f"{escape(panel.title)}: to the right {units} from {low:.4g} to {high:.4g}, upward {gray} "
        "from 0 to 1"
    )
    png = colors_png(panel.legend.colors)
    return (
        f'<figure class="legend"><img src="data:image/png;base64,{png}" alt="{about}">'
        f"<figcaption>{about}</figcaption></figure>"
    )


def _figures(record: Mapping[str, Any]) -> str:
    parts = []
    for heading, rows in figures(record).items():
        cells = "".join(
            f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in rows
        )
        parts.append(f"<section><h3>{escape(heading)}</h3><table>{cells}</table></section>")
    return "".join(parts)
