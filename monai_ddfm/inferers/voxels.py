"""The size of voxels and of the pixels of slices, where a volume says it."""

from __future__ import annotations

from monai.data import MetaTensor
from torch import Tensor

from monai_ddfm.likelihoods.scale_space import Spacing

__all__ = ["spacing_of", "voxel_of"]


def voxel_of(inputs: Tensor) -> list[float] | None:
    """Edges in mm of a volume's voxels; None where nothing says it."""
    if not isinstance(inputs, MetaTensor) or inputs.ndim != 5:
        return None
    affine = inputs.affine.reshape(-1, 4, 4)[0]
    return [float(size) for size in affine[:3, :3].norm(dim=0)]


def spacing_of(voxel: list[float] | None, axis: int) -> Spacing | None:
    """Size in mm of a pixel of the slices across `axis`; None where nothing says it."""
    if voxel is None:
        return None
    height, width = (size for number, size in enumerate(voxel) if number != axis)
    return height, width
