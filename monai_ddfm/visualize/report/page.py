"""The page itself: viewer, figures, histograms and warnings put into one HTML file.

The viewer is niivue (https://niivue.com), inside the page; `.ci/niivue` brings another version of
it. A still picture takes its place in print, and where a browser cannot run it.
"""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from monai_ddfm.utils.files import write_text
from monai_ddfm.utils.json_files import jsonable
from monai_ddfm.visualize.legend import Legend
from monai_ddfm.visualize.pages import render
from monai_ddfm.visualize.panels import Panel
from monai_ddfm.visualize.preview import write_preview
from monai_ddfm.visualize.report.histograms import histogram_svg
from monai_ddfm.visualize.report.summary import figures, warnings
from monai_ddfm.visualize.report.volumes import viewer_volumes

__all__ = ["colors_png", "write_report"]

_STILL_WIDTH = 1400


def write_report(
    path: str | Path,
    panels: Sequence[Panel],
    affine: Any,
    *,
    provenance: Mapping[str, Any],
    title: str = "",
    preview: str | Path | None = None,
) -> None:
    """Write the report of a run, whole or not at all.

    Args:
        path: the HTML file.
        panels: the volumes, all on one grid: MRI, moving volume, fusion, and weight if there is
            one; or MRI, several moving volumes, fusion, and as many weights.
        affine: [4, 4], voxel indices of that grid to RAS millimeters.
        provenance: the record of the run.
        title: heading of the page.
        preview: what `write_preview` has drawn of these panels; drawn here if it is not given.

    Raises:
        ValueError: a panel is neither scalar nor RGB.
        InputError: the file cannot be written.
    """
    record = jsonable(provenance)
    data = viewer_volumes(panels, affine)
    for about, panel in zip(data["panels"], panels, strict=True):
        about["legend"] = panel.legend and _legend(panel.legend)
    niivue = files(__package__) / "niivue"
    data["library"] = base64.b64encode((niivue / "niivue.umd.js.gz").read_bytes()).decode("ascii")
    page = render(
        __package__,
        "report.html",
        title=title or "Fusion",
        style="report.css",
        script="viewer.js",
        data=data,
        warnings=warnings(record),
        still=_still(preview, panels, affine, title),
        histograms=[(Markup(histogram_svg(panel)), _caption(panel)) for panel in panels],
        figures=figures(record),
        record=json.dumps(record, indent=2, ensure_ascii=False),
        version=(niivue / "VERSION").read_text(encoding="ascii").split()[0],
    )
    write_text(path, page)


def colors_png(colors: NDArray[np.floating[Any]]) -> str:
    """Encode colors [rows, columns, 3] in [0, 1] as a PNG file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * np.clip(colors, 0, 1)).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _legend(legend: Legend) -> dict[str, str]:
    low, high = (f"{end:.0f}" if abs(end) >= 1e4 else f"{end:.4g}" for end in legend.ends)
    about = {"gray": legend.gray, "low": low, "high": high, "units": legend.units}
    return about | {"png": colors_png(legend.colors)}


def _still(preview: str | Path | None, panels: Sequence[Panel], affine: Any, title: str) -> str:
    """Return the preview as a smaller WebP picture in base64."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = preview or Path(folder) / "preview.png"
        if preview is None:
            write_preview(drawn, panels, affine, title=title)
        with Image.open(drawn) as image:
            picture = image.convert("RGB")
    picture.thumbnail((_STILL_WIDTH, 10 * _STILL_WIDTH))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _caption(panel: Panel) -> str:
    return f"{panel.title}{f', {panel.scale}' if panel.scale else ''}"
