r"""From voxels to slices: where each slice lies and in which order its pixels are stored.

With the affine A from voxel indices to LPS millimeters, slice k has (PS3.3 C.7.6.2)

    ImagePositionPatient = A (0, 0, k, 1),       PixelSpacing = lengths of columns 2 and 1 of A,
    ImageOrientationPatient = directions of columns 1 and 2.

A volume that was read from DICOM keeps the slices it was read from, with their own positions. Any
other is turned, by exchanging and reversing axes alone, to what viewers expect: slices through the
coarsest axis (axial ones if no axis is coarser), seen as radiologists see them, stacked along
row x column.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_ddfm.data.readers.dicom_grid import DISPLACED, SAME_PLACE_MM, UNEVEN
from monai_ddfm.data.writers.dicom.sources import SourceSeries
from monai_ddfm.errors import InputError

__all__ = ["SliceGrid", "plan_slices"]

_PLANES = {"S": "LPS", "P": "LIP", "R": "PIR"}  # what the axis runs along: row, column, slice
_SAME_AXIS = {"I": "S", "A": "P", "L": "R"}
_COARSER = 1.2
_RIGHT_ANGLE = 1e-3
_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))  # the LPS axes: against, along

_KEPT = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SliceGrid:
    """How a volume is cut into slices.

    Attributes:
        turn: [3, 2] orientation transform of nibabel that brings voxels to [columns, rows, slices].
        row: [3] unit vector along which a row runs, LPS.
        column: [3] unit vector along which a column runs, LPS.
        spacing: mm between rows, mm between columns.
        positions: [n, 3] center of the first pixel of every slice, LPS mm.
        step: mm from slice to slice.
        matches: for every slice, which frame of the source series lies there; -1 for none.
    """

    turn: NDArray[np.float64]
    row: Array
    column: Array
    spacing: tuple[float, float]
    positions: Array
    step: float
    matches: tuple[int, ...]

    def slices(
        self, volume: Any, convert: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
    ) -> NDArray[Any]:
        """Cut a volume into slices.

        Args:
            volume: [C, H, W, D] array.
            convert: applied to each slice, so that what it needs on the way stays small.

        Returns:
            [n, rows, columns] for one channel, [n, rows, columns, 3] for colors.
        """
        turned = [nib.orientations.apply_orientation(c, self.turn).T for c in np.asarray(volume)]
        cut = (
            convert(np.stack(planes, axis=-1) if len(planes) > 1 else planes[0])
            for planes in zip(*turned, strict=True)
        )
        first = next(cut)
        result = np.empty((len(turned[0]), *first.shape), first.dtype)
        for index, plane in enumerate(itertools.chain([first], cut)):
            result[index] = plane
        return result

    @property
    def orientation(self) -> list[float]:
        """ImageOrientationPatient."""
        return [*self.row.tolist(), *self.column.tolist()]

    @property
    def letters(self) -> list[str]:
        """PatientOrientation: where rows and columns lead, the main direction first."""
        return [_letters(self.row), _letters(self.column)]

    def points(self, index: int, shape: tuple[int, int], count: int = 5) -> Array:
        """Return points of a slice.

        Args:
            index: of the slice.
            shape: its rows and columns.
            count: how many along either side.

        Returns:
            [count * count, 3] LPS mm, the corners among them.
        """
        down, right = (np.linspace(0, n - 1, count) for n in shape)
        rows, columns = np.meshgrid(down * self.spacing[0], right * self.spacing[1], indexing="ij")
        offsets = rows[..., None] * self.column + columns[..., None] * self.row
        return np.asarray(self.positions[index] + offsets).reshape(-1, 3)


def plan_slices(
    affine: Any, shape: tuple[int, int, int], sources: SourceSeries | None
) -> SliceGrid:
    """Decide how a volume is cut into slices.

    Args:
        affine: [4, 4] voxel indices to RAS mm.
        shape: of the volume.
        sources: the series the volume was read from, if it was.

    Returns:
        The slices.

    Raises:
        InputError: the axes are not at right angles, which DICOM cannot say.
    """
    affine = np.asarray(affine, dtype=np.float64)
    turn = _KEPT if sources is not None else _conventional(affine)
    moved = affine @ nib.orientations.inv_ornt_aff(turn, shape)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ moved
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGHT_ANGLE:
        raise InputError(
            "The axes of the MRI's grid are not at right angles, which DICOM slices must be; "
            "resample it first."
        )
    count = int(nib.orientations.apply_orientation(np.zeros(shape, dtype=bool), turn).shape[2])
    positions = np.array([(lps @ (0, 0, k, 1))[:3] for k in range(count)])
    row, column, spacing = axes[:, 0], axes[:, 1], (float(lengths[1]), float(lengths[0]))
    matches = [-1] * count
    first = sources.frames[0] if sources is not None else None
    if (
        sources is not None
        and first is not None
        and np.allclose(first.orientation, axes[:, :2].T.ravel(), atol=1e-4)
    ):
        row, column = first.orientation[:3], first.orientation[3:]
        if np.allclose(first.spacing, spacing, rtol=1e-4):
            spacing = first.spacing
        matches = _matches(positions, sources, step=float(lengths[2]))
        found = np.array(matches) >= 0
        positions[found] = sources.positions[np.array(matches)[found]]
    return SliceGrid(turn, row, column, spacing, positions, float(lengths[2]), tuple(matches))


def _conventional(affine: Array) -> NDArray[np.float64]:
    """Return the turn that brings voxels to slices as radiologists see them."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    codes = nib.aff2axcodes(affine)
    upright = next(k for k, letter in enumerate(codes) if _SAME_AXIS.get(letter, letter) == "S")
    coarsest = int(lengths.argmax())
    others = max(float(length) for k, length in enumerate(lengths) if k != coarsest)
    axis = coarsest if lengths[coarsest] > _COARSER * others else upright
    plane = _PLANES[_SAME_AXIS.get(codes[axis], codes[axis])]
    here = nib.orientations.io_orientation(affine)
    return np.asarray(
        nib.orientations.ornt_transform(here, nib.orientations.axcodes2ornt(plane)), dtype=float
    )


def _matches(positions: Array, sources: SourceSeries, *, step: float) -> list[int]:
    """Return, for every slice, the frame that lies where the reader would have put it."""
    frame = sources.frames[0]
    away = sources.positions[None] - positions[:, None]
    depth = np.abs(away @ sources.normal)
    aside = np.abs(away @ np.stack([frame.orientation[:3], frame.orientation[3:]], axis=1))
    near = (depth <= max(UNEVEN * step, SAME_PLACE_MM)) & (
        aside <= DISPLACED * np.array([frame.spacing[1], frame.spacing[0]])
    ).all(axis=-1)
    return [int(row.argmax()) if row.any() else -1 for row in near]


def _letters(direction: Array) -> str:
    order = np.argsort(-np.abs(direction))
    return "".join(
        _LETTERS[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > 0.05
    )
