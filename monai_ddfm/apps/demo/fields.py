"""Random fields and distance maps that head and images are drawn with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

__all__ = ["Array", "Matrix", "ramp", "signed_distance", "smooth_field"]

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]


def smooth_field(rng: np.random.Generator, shape: Sequence[int], knots: int) -> Array:
    """Return a smooth Gaussian random field with mean 0 and standard deviation 1 in every voxel.

    The field is a weighted sum of independent normal knots; the weights are Gaussian in the
    distance to the knot and have unit Euclidean norm, hence the unit variance.

    Args:
        rng: source of the knots' values.
        shape: voxels along each edge.
        knots: number of knots along each edge; the same for every resolution, so that a seed gives
            the same field on finer and coarser grids.

    Returns:
        Field of the given shape, float32.
    """
    field = rng.standard_normal((knots,) * len(shape)).astype(np.float32)
    at = np.linspace(0.0, 1.0, knots)
    for size in shape:
        x = np.linspace(0.0, 1.0, size)[:, None]
        basis = np.exp(-0.5 * ((x - at) * (knots - 1) / 0.7) ** 2)
        basis /= np.linalg.norm(basis, axis=1, keepdims=True)
        # tensordot appends the new axis: after the last round the order is x, y, z again.
        field = np.tensordot(field, basis.astype(np.float32), axes=([0], [1]))
    return np.asarray(field, dtype=np.float32)


def signed_distance(mask: NDArray[np.bool_], voxel: float) -> Array:
    """Return the Euclidean distance in mm to the surface of `mask`, negative inside.

    Args:
        mask: [X, Y, Z] with both values present.
        voxel: edge of a voxel in mm.

    Returns:
        [X, Y, Z] float32.
    """
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([voxel] * 3)
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.asarray(sitk.GetArrayFromImage(distance), dtype=np.float32)


def ramp(distance: NDArray[np.floating], width: float) -> Array:
    """Return the share of a voxel that lies inside a surface.

    Args:
        distance: signed distance of the voxel's center to the surface in mm, negative inside.
        width: edge of the voxel in mm.

    Returns:
        1 inside, 0 outside, linear over `width` in between; float32.
    """
    return np.asarray(np.clip(0.5 - distance / width, 0.0, 1.0), dtype=np.float32)
