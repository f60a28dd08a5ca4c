r"""The volumes of a report, as its viewer reads them: small, on one grid, in their own units.

A volume is cropped to the head and, if it is large, averaged over blocks. A value x of a panel is
kept as an integer code,

    c = 1 + round((s(x) - a) / q),    0 for NaN,

where a is the smallest value that is shown and q the step, 1, 2 or 5 times a power of ten. The
function s is the identity if the panel's gray scale is linear. If it has bends, s is the gray
scale itself, carried on beyond its ends, so that the steps are fine where the scale is steep; the
page inverts it where it tells a value. Colors are three bytes, of which the green one is taken
from the others, modulo 256: they compress to two thirds.

What is written is the difference to the code one voxel posterior, modulo 256 or 65536; of two bytes
with the sign in the last bit, and bytes of the same significance together. All of it is compressed
with gzip, which every browser can undo. The axes are right, anterior, superior.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation, inv_ornt_aff
from numpy.typing import NDArray

from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.color import color_table
from monai_ddfm.utils.slabs import slabs
from monai_ddfm.visualize.panels import Panel, channels_last, mean_of_channels
from monai_ddfm.visualize.views import View, informative_point

__all__ = ["viewer_volumes"]

_MOST_VOXELS = 1_200_000
_STEPS = {True: 500, False: 150}  # of a window, at least: with units, and without


def viewer_volumes(
    panels: Sequence[Panel], affine: Any, *, most_voxels: int = _MOST_VOXELS
) -> dict[str, Any]:
    """Encode volumes for the page.

    Args:
        panels: all on one grid; the first decides which part is shown, the first two the point
            where the page begins.
        affine: [4, 4], voxel indices of that grid to RAS millimeters.
        most_voxels: beyond which a volume is averaged over blocks.

    Returns:
        ``size`` (voxels along R, A, S), ``spacing`` (mm), ``start`` (voxel), ``averaged`` (whether
        voxels are means of several) and ``panels``: ``title``, ``units``, ``header`` (of a NIfTI
        file) and ``codes``, both in base64; for scalars ``first`` and ``step`` of the codes,
        ``knots`` and ``levels`` of the gray scale, ``bent`` and ``colors`` (256 RGB entries).
    """
    volumes = [channels_last(panel.data) for panel in panels]
    first, second = (mean_of_channels(volumes[min(i, len(volumes) - 1)]) for i in (0, 1))
    matrix = as_array(affine).astype(np.float64)
    view = View.around(first, matrix, informative_point(first, second))
    crop = tuple(slice(low, high) for low, high in zip(view.low, view.high, strict=True))
    low, extent = np.array(view.low), np.array(view.high) - np.array(view.low)
    size = _reduced(extent, np.array(view.spacing), most_voxels)
    start = (np.array(view.center) - low) * size / extent
    # Voxel centers: the first block's center lies half a block from the edge of the crop.
    coarse = np.diag([*(extent / size), 1.0])
    coarse[:3, 3] = low - 0.5 + extent / size / 2
    ras = matrix @ inv_ornt_aff(view.to_ras, first.shape) @ coarse
    return {
        "size": size.tolist(),
        "spacing": (extent * np.array(view.spacing) / size).tolist(),
        "start": np.clip(start.astype(int), 0, size - 1).tolist(),
        "averaged": bool((size < extent).any()),
        "panels": [
            _encoded(panel, apply_orientation(volume, view.to_ras)[crop], size, ras)
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
        length *= 1.02
        size = np.maximum(1, np.minimum(extent, np.rint(extent * spacing / length))).astype(int)
    return size


def _encoded(
    panel: Panel, volume: NDArray[Any], size: NDArray[np.int64], affine: NDArray[np.float64]
) -> dict[str, Any]:
    about: dict[str, Any] = {"title": panel.title, "units": panel.units}
    if volume.shape[-1] == 3:
        colors = np.stack([_pooled(volume[..., c], size) for c in range(3)])
        codes = np.rint(255 * np.clip(np.nan_to_num(colors), 0, 1)).astype(np.uint8)
        codes[[0, 2]] -= codes[1]
        header = _header(size, affine, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        planes = [_differences(channel) for channel in codes]
        return about | {"header": header, "codes": _compressed(b"".join(planes))}
    knots, levels = panel.knots()
    bent = len(knots) > 2
    shown = _pooled(volume[..., 0], size, (knots, levels) if bent else None)
    ends = (levels if bent else knots)[[0, -1]]
    low, high = float(np.nanmin(shown, initial=ends[0])), float(np.nanmax(shown, initial=ends[1]))
    step = max(_nice((ends[1] - ends[0]) / _STEPS[bool(panel.units)]), (high - low) / 60_000)
    first = float(step * np.floor(low / step))
    codes = np.nan_to_num(1 + np.rint((shown - first) / step), nan=0)
    codes = codes.astype(np.dtype("u1" if codes.max() < 256 else "<u2"))
    table = np.rint(255 * color_table(panel.colors).numpy()).astype(np.uint8)
    return about | {
        "header": _header(size, affine, codes.dtype, step, first - step),
        "codes": _compressed(_differences(codes)),
        "first": first,
        "step": step,
        "knots": knots.tolist(),
        "levels": (levels if bent else knots).tolist(),
        "bent": bent,
        "colors": base64.b64encode(table.tobytes()).decode("ascii"),
    }


def _differences(codes: NDArray[Any]) -> bytes:
    """Return the bytes of what has to be added to the code one voxel posterior; R runs first."""
    flat, row = codes.ravel("F"), len(codes)
    found = flat.copy()
    found[row:] -= flat[:-row]
    if found.itemsize > 1:
        signed = found.view("<i2")
        found = (signed << 1 ^ signed >> 15).astype("<u2")
    return found.view(np.uint8).reshape(-1, found.itemsize).T.tobytes()


def _compressed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")


def _nice(step: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not more than `step`."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(power * max(n for n in (1, 2, 5) if n * power <= step * (1 + 1e-9)))


def _pooled(
    channel: NDArray[Any],
    size: NDArray[np.int64],
    scale: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> NDArray[np.float32]:
    """Average one channel [R, A, S] over blocks, on a gray scale if it is given, without NaN."""
    values = np.empty(channel.shape, np.float32)
    for part in slabs(channel.shape):
        values[part] = channel[part] if scale is None else _extended(channel[part], *scale)
    if tuple(size) == channel.shape:
        return values
    there = np.isfinite(values)
    mean, share = (_blocks(part, size) for part in (np.where(there, values, 0), there))
    return np.where(share >= 0.5, mean / np.maximum(share, 0.5), np.nan).astype(np.float32)


def _blocks(volume: NDArray[Any], size: NDArray[np.int64]) -> NDArray[np.float32]:
    whole = torch.from_numpy(volume.astype(np.float32, copy=False))
    means = torch.nn.functional.adaptive_avg_pool3d(whole[None, None], size.tolist())[0, 0]
    return np.asarray(means.numpy())


def _extended(
    values: NDArray[Any], knots: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate between knots, and carry the first and the last piece on beyond them."""
    slopes = np.diff(levels) / np.diff(knots)
    inside: NDArray[np.float64] = np.interp(values, knots, levels)
    below = np.minimum(values - knots[0], 0) * slopes[0]
    above = np.maximum(values - knots[-1], 0) * slopes[-1]
    return np.asarray(inside + below + above, dtype=np.float64)


def _header(
    size: NDArray[np.int64],
    affine: NDArray[np.float64],
    dtype: np.dtype[Any],
    slope: float = 1.0,
    intercept: float = 0.0,
) -> str:
    """Return the header of a NIfTI file whose data follow at once; it holds geometry alone."""
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(size.tolist())
    header.set_sform(affine, code=1)
    header.set_slope_inter(slope, intercept)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = nib.affines.voxel_sizes(affine)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return base64.b64encode(header.binaryblock + bytes(4)).decode("ascii")
