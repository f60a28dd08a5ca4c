"""The transform that `moving` was resampled with, and which source images a slice came from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_ddfm.data.writers.dicom.grid import SliceGrid
from monai_ddfm.data.writers.dicom.sources import ImageReference, SourceSeries
from monai_ddfm.errors import InputError
from monai_ddfm.utils.reports import reports_of

__all__ = ["linear_matrix", "map_points", "sources_of_slices", "transform_of"]

_KEY = "ddfm_transform"  # metadata: text of the .tfm file, fixed to moving

Array = NDArray[np.float64]


def transform_of(volume: Any) -> Any | None:
    """Return the transform that a volume was resampled with.

    Args:
        volume: MetaTensor from a registration.

    Returns:
        `SimpleITK.Transform` from points of the MRI to points of `moving`, LPS mm; None if the
        volume carries none.

    Raises:
        InputError: its file has gone since it was used.
    """
    text = volume.meta.get(_KEY)
    if isinstance(text, str):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "transform.tfm"
            file.write_text(text, encoding="ascii")
            return sitk.ReadTransform(str(file)).Downcast()
    report = reports_of(volume).get("registration", {})
    if "file" not in report:
        return None
    try:
        transform = sitk.ReadTransform(str(report["file"]))
        return transform.GetInverse() if report.get("inverted") else transform
    except RuntimeError as error:
        raise InputError(f"{report['file']} has changed since it was used; run again.") from error


def linear_matrix(transform: Any) -> Array | None:
    """Return a linear transform as a 4x4 matrix on points in LPS mm; None if it is not linear."""
    if not transform.IsLinear():
        return None
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis, unit in enumerate(np.eye(3)):
        # Far from the origin, so that differences keep their digits.
        matrix[:3, axis] = (
            np.array(transform.TransformPoint((unit * 1e3).tolist())) - offset
        ) / 1e3
    matrix[:3, 3] = offset
    return matrix


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
