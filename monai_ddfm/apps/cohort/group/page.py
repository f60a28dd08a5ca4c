"""``group.html``: one page for all cases of a cohort, sortable, filterable, ratable by keyboard.

All text reaches the page as JSON and is put into it as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_ddfm.visualize.pages import render

__all__ = ["group_page"]


def group_page(
    rows: Sequence[Mapping[str, Any]],
    problems: Sequence[Mapping[str, str]],
    pictures: Sequence[str],
    *,
    figures: Mapping[str, str],
) -> str:
    """Return the page.

    Args:
        rows: the cases: ``case``, ``subject``, ``session``, ``tracer``, ``modality``, ``status``,
            ``reason``, ``warnings``, ``notes``, ``report``, ``figures`` and ``outliers``.
        problems: ``who`` and ``sentence`` of what could not be fused.
        pictures: for each row a JPEG picture in base 64, or empty text.
        figures: heading by name of the figures that are shown, where a row has them.

    Returns:
        HTML.
    """
    shown = {
        name: head for name, head in figures.items() if any(name in r["figures"] for r in rows)
    }
    data = {
        "figures": [{"name": name, "head": head} for name, head in shown.items()],
        "rows": [
            {
                **row,
                "figures": {name: row["figures"].get(name) for name in shown},
                "picture": picture,
            }
            for row, picture in zip(rows, pictures, strict=True)
        ],
        "problems": list(problems),
    }
    return render(
        __package__,
        "group.html",
        title="Cohort",
        style="group.css",
        script="group.js",
        data=data,
    )
