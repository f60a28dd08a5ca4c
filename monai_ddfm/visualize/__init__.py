"""What a fusion looks like: styles of color, legend, views, panels, preview and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.utils.lazy import lazily

if TYPE_CHECKING:
    from monai_ddfm.visualize.color_styles import ColorStyle
    from monai_ddfm.visualize.panels import Panel, channels_last, mean_of_channels, panels_of
    from monai_ddfm.visualize.preview import write_preview
    from monai_ddfm.visualize.report import write_report
    from monai_ddfm.visualize.views import PLANES, View, informative_point, robust_window

__all__ = [
    "PLANES",
    "ColorStyle",
    "Panel",
    "View",
    "channels_last",
    "informative_point",
    "mean_of_channels",
    "panels_of",
    "robust_window",
    "write_preview",
    "write_report",
]

__getattr__ = lazily(
    __name__,
    {
        "color_styles": ("ColorStyle",),
        "panels": ("Panel", "channels_last", "mean_of_channels", "panels_of"),
        "preview": ("write_preview",),
        "report": ("write_report",),
        "views": ("PLANES", "View", "informative_point", "robust_window"),
    },
)
