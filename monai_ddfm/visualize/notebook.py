"""A finished fusion in a notebook: a viewer where there is one, else the preview picture.

The viewer is `ipyniivue <https://github.com/niivue/ipyniivue>`_, if it is installed: three planes
and the rendered head, the fusion below and the registered source above it. Without it, or where a
notebook is shown as a page, the preview stands with the warnings of the run.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_ddfm.utils.files import NOTICE

__all__ = ["result_html", "result_viewer"]

_FUSED = ("fused_rgb.nii.gz", "fused.nii.gz")
_OVER = "moving_registered.nii.gz"
_OPACITY = 0.0
"""Of the source above the fusion: nothing is seen of it until it is asked for."""


def result_html(files: Mapping[str, Path], warnings: Sequence[str]) -> str:
    """Return the preview and the warnings of a run as HTML that needs no other file.

    Args:
        files: path by file name; without a preview there is only text.
        warnings: what needs looking at, as clauses.
    """
    parts = [f"<p><b>{html.escape(f'warning: {text}')}</b></p>" for text in warnings]
    preview = files.get("preview.png")
    if preview is not None and preview.is_file():
        data = base64.b64encode(preview.read_bytes()).decode("ascii")
        parts.append(
            f'<img alt="MRI, registered source, fusion and weight in three planes" '
            f'style="max-width:100%" src="data:image/png;base64,{data}">'
        )
    folder = next((str(path.parent) for path in files.values()), "")
    where = f"{', '.join(files)} in {folder}; " if files else "nothing was written; "
    parts.append(f"<p>{html.escape(where + NOTICE)}</p>")
    return "\n".join(parts)


def result_viewer(files: Mapping[str, Path]) -> Any:
    """Return a viewer of the fusion.

    Args:
        files: path by file name.

    Returns:
        An `ipyniivue.NiiVue`; None if it is not installed, or there is no NIfTI of the fusion.
    """
    fused = next((files[name] for name in _FUSED if name in files), None)
    if fused is None:
        return None
    try:
        from ipyniivue import NiiVue  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    volumes: list[dict[str, Any]] = [{"path": str(fused)}]
    if _OVER in files:
        volumes.append({"path": str(files[_OVER]), "colormap": "inferno", "opacity": _OPACITY})
    viewer = NiiVue()
    viewer.load_volumes(volumes)
    return viewer
