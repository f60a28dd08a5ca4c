"""The legend of a fusion in color: its colors by uptake and gray level.

A color of the fusion stands for two values, and a bar of one dimension cannot say which. The legend
is drawn by the same function that colored the fusion, so it is true for every voxel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_ddfm.visualize.color_styles import ColorStyle, legend_colors

__all__ = ["Legend", "legend_of"]

_SIZE: Final = 128
_NUMBERS: Final = ("fade", "share", "opacity", "color_luminance", "anatomy", "saturation")


@dataclass(frozen=True)
class Legend:
    """Colors by two values.

    Attributes:
        colors: [N, N, 3] in [0, 1]: gray level along the rows, white first, as it is drawn; uptake
            along the columns, none first.
        gray: what the gray level is.
        ends: uptake of the first and the last column.
        units: of these, for a caption.
    """

    colors: NDArray[np.float32]
    gray: str
    ends: tuple[float, float] = (0.0, 1.0)
    units: str = "uptake"


def legend_of(report: Mapping[str, Any]) -> Legend | None:
    """Return the legend that belongs to a report "color".

    Args:
        report: what coloring the fusion has noted.

    Returns:
        The legend, its uptake from 0 to 1; None if the color comes from no table, or from several:
        it stands for more than two values then.
    """
    tables = report.get("color_tables", {}).values() or [report.get("color_table")]
    table = next(iter(tables))
    if "style" not in report or table is None or len(tables) > 1:
        return None
    numbers = {name: float(report[name]) for name in _NUMBERS if name in report}
    numbers.setdefault("saturation", 1.0)  # of records from before it could be less
    style = ColorStyle(name=str(report["style"]), **numbers)
    colors = legend_colors(style, str(table), size=_SIZE)
    return Legend(colors.flip(1).movedim(0, -1).numpy(), style.gray_name)
