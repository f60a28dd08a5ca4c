"""Which source images a slice came from, by the transform that `moving` was resampled with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_ddfm.data.writers.dicom.grid import SliceGrid
from monai_ddfm.data.writers.dicom.sources import ImageReference, SourceSeries

__all__ = ["map_points", "sources_of_slices"]

Array = NDArray[np.float64]


def map_points(transform: Any, points: Array) -> Array:
    """Map points.

    Args:
        transform: `SimpleITK.Transform`.
        points: [n, 3] LPS mm.

    Returns:
        [n, 3] LPS mm.
    """
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def sources_of_slices(
    grid: SliceGrid, shape: tuple[int, int], transform: Any | None, sources: SourceSeries | None
) -> list[list[ImageReference | None]]:
    """Find the images of `moving` that each slice of the MRI's grid was interpolated from.

    Args:
        grid: the slices.
        shape: their rows and columns.
        transform: from points of the MRI to points of `moving`; None for identity.
        sources: the series of `moving`, None if it was not DICOM.

    Returns:
        For every slice, references to the images at the depths it runs through, and their next
        neighbors. Frames of one image count as one.
    """
    count = len(grid.positions)
    if sources is None:
        return [[] for _ in range(count)]
    depths = sources.positions @ sources.normal
    found = []
    for index in range(count):
        points = grid.points(index, shape)
        if transform is not None:
            points = map_points(transform, points)
        along = points @ sources.normal
        first = max(int(np.searchsorted(depths, along.min(), side="right")) - 1, 0)
        last = min(int(np.searchsorted(depths, along.max(), side="left")), len(depths) - 1)
        found.append(list(dict.fromkeys(sources.references[first : last + 1])))
    return found
