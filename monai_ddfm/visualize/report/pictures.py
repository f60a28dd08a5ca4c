"""The volumes of a report: every panel as one PNG file that holds all of its axial slices.

The page cuts the three planes out of it. To keep the page small, a volume is cropped to the head
and, if it is large, averaged over blocks; its values become 8-bit levels by the panel's gray scale.
Level 0 means that there is nothing to show. The axes are right, anterior, superior.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nibabel.orientations import apply_orientation
from numpy.typing import NDArray
from PIL import Image

from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.color import color_table
from monai_ddfm.utils.slabs import slabs
from monai_ddfm.visualize.panels import Panel, channels_last, mean_of_channels
from monai_ddfm.visualize.views import View, informative_point

__all__ = ["colors_png", "picture_data"]

_MOST_VOXELS = 1_500_000


def picture_data(
    panels: Sequence[Panel], affine: Any, *, most_voxels: int = _MOST_VOXELS
) -> dict[str, Any]:
    """Encode volumes for the page.

    Args:
        panels: all on one grid; the first decides which part is shown, the first two the point
            where the page begins.
        affine: [4, 4], voxel indices of that grid to RAS millimeters.
        most_voxels: beyond which a volume is averaged over blocks.

    Returns:
        ``size`` (voxels along R, A, S), ``spacing`` (mm), ``start`` (voxel), ``columns`` (slices
        per row of the mosaic) and ``panels``: ``title``, ``png`` (base64), ``color``, and for
        scalars ``values`` and ``levels`` (the gray scale), ``table`` (base64, 256 RGB entries) and
        ``units``.
    """
    volumes = [channels_last(panel.data) for panel in panels]
    first, second = (mean_of_channels(volumes[min(i, len(volumes) - 1)]) for i in (0, 1))
    matrix = as_array(affine).astype(np.float64)
    view = View.around(first, matrix, informative_point(first, second))
    crop = tuple(slice(low, high) for low, high in zip(view.low, view.high, strict=True))
    extent = np.array(view.high) - np.array(view.low)
    size = _reduced(extent, np.array(view.spacing), most_voxels)
    columns = math.ceil(math.sqrt(size[2]))
    spacing = extent * np.array(view.spacing) / size
    start = (np.array(view.center) - np.array(view.low)) * size / extent
    return {
        "size": size.tolist(),
        "spacing": spacing.tolist(),
        "start": np.clip(start.astype(int), 0, size - 1).tolist(),
        "columns": columns,
        "panels": [
            _encoded(panel, apply_orientation(volume, view.to_ras)[crop], size, columns)
            for panel, volume in zip(panels, volumes, strict=True)
        ],
    }


def _reduced(
    extent: NDArray[np.int64], spacing: NDArray[np.float64], most: int
) -> NDArray[np.int64]:
    """Return how many voxels to show, making the finest axes coarser first."""
    size = extent.copy()
    length = spacing.min()
    while size.prod() > most:
        length *= 1.05
        size = np.maximum(1, np.minimum(extent, np.rint(extent * spacing / length))).astype(int)
    return size


def _encoded(
    panel: Panel, volume: NDArray[Any], size: NDArray[np.int64], columns: int
) -> dict[str, Any]:
    about: dict[str, Any] = {"title": panel.title, "color": volume.shape[-1] == 3}
    if not about["color"]:
        values, heights = panel.knots()
        table = np.rint(255 * color_table(panel.colors).numpy()).astype(np.uint8)
        about |= {
            "values": values.tolist(),
            "levels": heights.tolist(),
            "table": base64.b64encode(table.tobytes()).decode("ascii"),
            "units": panel.scale or "",
        }
    channels = [
        _levels_8bit(volume[..., channel], size, None if about["color"] else panel.knots())
        for channel in range(volume.shape[-1])
    ]
    return about | {"png": _mosaic(np.stack(channels), columns)}


def _levels_8bit(
    channel: NDArray[Any],
    size: NDArray[np.int64],
    knots: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> NDArray[np.uint8]:
    """Bring one channel [R, A, S] to 8 bits by a gray scale, as a color without, and to `size`."""
    levels = np.empty(channel.shape, np.float32)
    for part in slabs(channel.shape):
        values = channel[part]
        if knots is None:
            levels[part] = 255 * np.clip(np.nan_to_num(values), 0, 1)
        else:
            levels[part] = 1 + 254 * np.interp(values, *knots)
            levels[part][np.isnan(values)] = 0
    whole = torch.from_numpy(levels)
    if tuple(size) != channel.shape:
        whole = torch.nn.functional.adaptive_avg_pool3d(whole[None, None], size.tolist())[0, 0]
    return whole.round().to(torch.uint8).numpy()


def _mosaic(volume: NDArray[np.uint8], columns: int) -> str:
    """Lay the slices of [C, R, A, S] out in rows; in a slice, R runs along x and A along y."""
    channels, width, height, depth = volume.shape
    rows = math.ceil(depth / columns)
    sheet = np.zeros((rows * height, columns * width, channels), dtype=np.uint8)
    for k in range(depth):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + height, left : left + width] = volume[..., k].transpose(2, 1, 0)
    return _png(sheet[..., 0] if channels == 1 else sheet)


def colors_png(colors: NDArray[np.floating[Any]]) -> str:
    """Encode colors [rows, columns, 3] in [0, 1] as a PNG file in base64."""
    return _png(np.rint(255 * np.clip(colors, 0, 1)).astype(np.uint8))


def _png(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
