"""Grids in space as affine and shape: which axis has the slices, cubes, swaps and flips.

The functions behind the transforms in `grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import ArrayLike, NDArray

from monai_ddfm.errors import InputError
from monai_ddfm.utils.slabs import slabs

__all__ = [
    "SliceAlong",
    "affine_of",
    "canonical_codes",
    "isotropic_grid",
    "reordered",
    "reordering",
    "slice_axis_of",
    "spacing_of",
]

SliceAlong = Literal["auto", "axial", "coronal", "sagittal"]

_CODES = {"axial": "RAS", "coronal": "RSA", "sagittal": "ASR"}
_THICK = 1.5  # times the next largest spacing: slices rather than an almost isotropic volume
_WHOLE = 1e-3  # voxels by which a swapped and flipped grid may miss the original one
_MOST_VOXELS = 2**30


def affine_of(volume: MetaTensor) -> NDArray[np.float64]:
    """Return the affine of a volume, [4, 4] in float64, wherever the volume lies."""
    return np.asarray(volume.affine.detach().cpu(), dtype=np.float64)


def spacing_of(affine: ArrayLike) -> NDArray[np.float64]:
    """Return the lengths of the columns of an affine: voxel spacing in mm along each axis."""
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    return np.asarray(np.linalg.norm(columns, axis=0))


def slice_axis_of(affine: ArrayLike) -> int:
    """Return the spatial axis across which a volume is to be cut into slices.

    That is the axis of the slices if they are thick (more than 1.5 times the spacing within them);
    otherwise the axis nearest to the body's, for axial slices.

    Args:
        affine: 4x4, voxel to RAS (or LPS) mm.

    Returns:
        0, 1 or 2.
    """
    spacing = spacing_of(affine)
    order = np.argsort(spacing)
    if spacing[order[2]] > _THICK * spacing[order[1]]:
        return int(order[2])
    axes = nib.io_orientation(np.asarray(affine, dtype=np.float64))[:, 0]
    return int(np.flatnonzero(axes == 2)[0])


def canonical_codes(affine: ArrayLike, *, slice_along: SliceAlong = "auto") -> str:
    """Return the axis codes that put the slices of a volume last.

    Args:
        affine: 4x4, voxel to RAS mm.
        slice_along: the plane of the slices; "auto" follows `slice_axis_of`.

    Returns:
        "RAS" (axial slices), "RSA" (coronal) or "ASR" (sagittal).
    """
    if slice_along != "auto":
        return _CODES[slice_along]
    world = nib.io_orientation(np.asarray(affine, dtype=np.float64))[:, 0]
    return ("ASR", "RSA", "RAS")[int(world[slice_axis_of(affine)])]


def isotropic_grid(
    affine: ArrayLike, shape: Sequence[int], *, spacing: float
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Return a grid of cubes over the field of view of another grid, with the same center.

    Args:
        affine: 4x4, voxel to mm.
        shape: voxels along the three axes.
        spacing: edge of the cubes in mm.

    Returns:
        Affine and shape of the cubes.

    Raises:
        InputError: there would be more than 2**30 of them.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    old = spacing_of(matrix)
    count = np.array(shape)
    size = np.maximum(1, np.round(count * old / spacing)).astype(int)
    if np.prod(size, dtype=float) > _MOST_VOXELS:
        raise InputError(
            f"cubes of {spacing} mm would make {'x'.join(map(str, size))} voxels: use a larger "
            "spacing"
        )
    scale = spacing / old
    step = np.diag([*scale, 1.0])
    step[:3, 3] = ((count - 1) - (size - 1) * scale) / 2
    return matrix @ step, tuple(size.tolist())


def reordered(
    values: torch.Tensor,
    working: NDArray[np.float64],
    target: NDArray[np.float64],
    shape: Sequence[int],
) -> torch.Tensor | None:
    """Swap and flip axes so that values on one grid lie on another, if that leads there.

    Args:
        values: [C, H, W, D] on the grid `working`.
        working: 4x4, voxel to mm.
        target: 4x4, voxel to mm.
        shape: voxels of the target grid.

    Returns:
        [C, *shape], contiguous; None if the grids differ in another way.
    """
    way = reordering(values.shape[1:], working, target, shape)
    if way is None:
        return None
    flipped, order = way
    turned = values.permute(0, *(1 + axis for axis in order))
    axes = [at for at, axis in enumerate(order) if axis in flipped]
    if not axes:
        return turned.contiguous()
    moved = values.new_empty((len(values), *shape))
    # A flip is a copy, so a few rows at a time.
    for rows in slabs(shape):
        source = slice(shape[0] - rows.stop, shape[0] - rows.start) if 0 in axes else rows
        moved[:, rows] = turned[:, source].flip([1 + axis for axis in axes])
    return moved


def reordering(
    from_shape: Sequence[int],
    working: NDArray[np.float64],
    target: NDArray[np.float64],
    shape: Sequence[int],
) -> tuple[list[int], list[int]] | None:
    """Find the flips and the order of the axes that lead from one grid to another, if they do.

    Args:
        from_shape: voxels of the grid `working`.
        working: 4x4, voxel to mm.
        target: 4x4, voxel to mm.
        shape: voxels of the target grid.

    Returns:
        The axes to flip, and then their order; None if the grids differ in another way.
    """
    lookup = np.linalg.solve(working, target)  # target voxel -> working voxel
    turn = np.round(lookup[:3, :3]).astype(int)
    ones = [np.abs(turn).sum(axis=axis) == 1 for axis in (0, 1)]
    if not np.all(ones):
        return None
    flipped = [axis for axis in range(3) if turn[axis].sum() < 0]
    exact = np.eye(4)
    exact[:3, :3] = turn
    exact[flipped, 3] = [from_shape[axis] - 1 for axis in flipped]
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape], [1])).reshape(4, -1)
    order = [int(np.flatnonzero(turn[:, axis])[0]) for axis in range(3)]
    same = [from_shape[axis] for axis in order] == list(shape)
    if not same or np.abs((lookup - exact) @ corners).max() > _WHOLE:
        return None
    return flipped, order
