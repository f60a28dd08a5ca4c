"""Where to look in a volume: the point, the part and the window of values worth showing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.slabs import slabs

__all__ = ["PLANES", "View", "informative_point", "robust_window"]

PLANES = ("Axial", "Coronal", "Sagittal")


@dataclass(frozen=True)
class View:
    """Three planes through a point of a grid, in the radiological convention.

    Attributes:
        center: the point, in voxels of the grid in RAS order.
        low: first voxel that is drawn along each axis of that grid.
        high: the voxel after the last that is drawn.
        spacing: size of its voxels in mm.
        to_ras: how the stored axes map to R, A and S, in nibabel's notation.
    """

    center: tuple[int, int, int]
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    spacing: tuple[float, float, float]
    to_ras: NDArray[np.float64]

    @classmethod
    def around(
        cls, reference: NDArray[Any], affine: NDArray[np.float64], point: tuple[int, int, int]
    ) -> View:
        """Look at what is not background in `reference`.

        Args:
            reference: [H, W, D], the volume whose foreground is framed.
            affine: [4, 4], voxel indices to RAS mm; an oblique grid is seen along its own axes.
            point: voxel through which the planes go.
        """
        to_ras = io_orientation(affine)
        ras_affine = affine @ inv_ornt_aff(to_ras, reference.shape)
        first, last = _bounding_box(reference)
        voxels = np.array([point, first, last], dtype=float)
        moved = apply_affine(np.linalg.inv(ras_affine) @ affine, voxels)
        moved = np.rint(moved).astype(int)
        sizes = voxel_sizes(ras_affine)
        return cls(
            center=_triple(moved[0]),
            low=_triple(moved[1:].min(axis=0)),
            high=_triple(moved[1:].max(axis=0) + 1),
            spacing=(float(sizes[0]), float(sizes[1]), float(sizes[2])),
            to_ras=to_ras,
        )

    @property
    def widest(self) -> float:
        """Width in mm of the widest plane."""
        return max(self.extent(plane)[0] for plane in range(len(PLANES)))

    def extent(self, plane: int) -> tuple[float, float]:
        """Return width and height in mm of a plane, an index into `PLANES`."""
        across, up = ((0, 1), (0, 2), (1, 2))[plane]
        return (
            (self.high[across] - self.low[across]) * self.spacing[across],
            (self.high[up] - self.low[up]) * self.spacing[up],
        )

    def cut(self, volume: NDArray[Any], plane: int) -> NDArray[Any]:
        """Cut a plane out as it is seen.

        Args:
            volume: [H, W, D] or [H, W, D, 3], as stored.
            plane: index into `PLANES`.

        Returns:
            [rows, columns] or [rows, columns, 3]; the top row is anterior or superior, the left
            column is the patient's right or front.
        """
        ras: NDArray[Any] = apply_orientation(volume, self.to_ras)
        across = tuple(
            self.center[axis] if axis == 2 - plane else slice(self.low[axis], self.high[axis])
            for axis in range(3)
        )
        # R, A and S grow to the left, the left and the top: both axes are reversed.
        return np.swapaxes(ras[across], 0, 1)[::-1, ::-1]


def robust_window(data: Any) -> tuple[float, float]:
    """Return a window for display, from the minimum to the 99.7th percentile above it.

    Args:
        data: [H, W, D]; values that are not finite are ignored.

    Returns:
        Lower and upper value, the lower smaller than the upper.
    """
    values = _thinned(as_array(data))
    low = float(values.min())
    inside = values[values > low]
    high = float(np.percentile(inside, 99.7)) if inside.size else low
    return (low, high) if high > low else (low, low + 1.0)


def informative_point(first: Any, second: Any) -> tuple[int, int, int]:
    """Return the voxel in the middle of where both volumes have something to show.

    That is the median along every axis of the product of both, each scaled to [0, 1] by its robust
    window: the middle of the head for MRI and CT, of the uptake for PET and SPECT.

    Args:
        first: [H, W, D].
        second: [H, W, D].

    Returns:
        Voxel indices.
    """
    volumes = [as_array(first), as_array(second)]
    windows = [robust_window(volume) for volume in volumes]
    profiles = [np.zeros(size) for size in volumes[0].shape]
    for part in slabs(volumes[0].shape):
        one, two = (_scaled(v[part], window) for v, window in zip(volumes, windows, strict=True))
        mass = one * two
        profiles[0][part] = mass.sum(axis=(1, 2), dtype=float)
        for axis in (1, 2):
            profiles[axis] += mass.sum(axis=_others(axis), dtype=float)
    middle = []
    for size, marginal in zip(volumes[0].shape, profiles, strict=True):
        profile = np.cumsum(marginal)
        found = int(np.searchsorted(profile, profile[-1] / 2)) if profile[-1] > 0 else size // 2
        middle.append(min(found, size - 1))
    return _triple(middle)


def _scaled(volume: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    low, high = window
    scaled: NDArray[np.float32] = np.clip((volume - low) / (high - low), 0, 1).astype(np.float32)
    return np.nan_to_num(scaled)


def _bounding_box(volume: NDArray[Any]) -> tuple[list[int], list[int]]:
    """Return first and last voxel of what is brighter than a tenth of the window, with a margin."""
    window = robust_window(volume)
    foreground = np.empty(volume.shape, bool)
    for part in slabs(volume.shape):
        np.greater(_scaled(volume[part], window), 0.1, out=foreground[part])
    first, last = [], []
    for axis, size in enumerate(volume.shape):
        inside = np.flatnonzero(foreground.mean(axis=_others(axis)) > 0.002)
        margin = max(1, round(0.03 * size))
        first.append(max(0, int(inside[0]) - margin) if inside.size else 0)
        last.append(min(size - 1, int(inside[-1]) + margin) if inside.size else size - 1)
    return first, last


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)


def _triple(values: Any) -> tuple[int, int, int]:
    first, second, third = (int(value) for value in values)
    return first, second, third


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Return at most about two million finite values, enough for percentiles."""
    values = values.reshape(-1)
    values = values[:: max(1, values.size // 1_000_000)]
    finite = values[np.isfinite(values)]
    return finite if finite.size else np.zeros(1, dtype=np.float32)
