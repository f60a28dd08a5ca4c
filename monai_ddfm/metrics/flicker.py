r"""Flicker: change from slice to slice that the sources do not have.

For a fused volume f of a and b, with :math:`\Delta` the difference of neighboring slices:

.. math::
    e = \max\big(0,\ |\Delta f| - \max(|\Delta a|, |\Delta b|)\big), \qquad
    \mathrm{flicker} = \overline{e}, \qquad
    \mathrm{share} = \textstyle\sum e \big/ \sum |\Delta f|

A mixture with weights that do not change along the axis, and the maximum, have none: whatever is
found comes from weights that jump between slices. `slice_change` is :math:`\overline{|\Delta f|}`
itself, to be compared between a fused volume and its sources.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.planes import WHITE

__all__ = ["flicker", "flicker_share", "slice_change"]


def flicker(
    fused: Tensor, sources: Tensor, *, mask: Tensor | None = None, axis: int = -1
) -> Tensor:
    """Return the mean change between neighboring slices beyond that of either source.

    Args:
        fused: [B, 1, H, W, D] in [0, 1].
        sources: [B, 2, H, W, D] in [0, 1].
        mask: where to measure, boolean [H, W, D]; a pair of voxels counts if both are inside.
        axis: the spatial axis along which slices follow each other, 0 to 2 or -3 to -1.

    Returns:
        [B] in gray levels of 255, at least 0; NaN where nothing is inside the mask.

    Raises:
        InputError: if the shapes do not fit or there is only one slice.
    """
    excess, _, inside = _changes(fused, sources, mask, axis)
    return WHITE * (excess * inside).flatten(1).sum(1) / inside.sum()


def flicker_share(
    fused: Tensor, sources: Tensor, *, mask: Tensor | None = None, axis: int = -1
) -> Tensor:
    """Return which share of the change between neighboring slices neither source has.

    Args:
        fused: see `flicker`.
        sources: see `flicker`.
        mask: see `flicker`.
        axis: see `flicker`.

    Returns:
        [B] in [0, 1]; NaN where the fused volume does not change inside the mask.

    Raises:
        InputError: if the shapes do not fit or there is only one slice.
    """
    excess, change, inside = _changes(fused, sources, mask, axis)
    return (excess * inside).flatten(1).sum(1) / (change * inside).flatten(1).sum(1)


def slice_change(volume: Tensor, *, mask: Tensor | None = None, axis: int = -1) -> Tensor:
    """Return the mean absolute difference of neighboring slices.

    Args:
        volume: [B, 1, H, W, D] in [0, 1].
        mask: see `flicker`.
        axis: see `flicker`.

    Returns:
        [B] in gray levels of 255.

    Raises:
        InputError: if the shape does not fit or there is only one slice.
    """
    _, change, inside = _changes(volume, volume.expand(-1, 2, -1, -1, -1), mask, axis)
    return WHITE * (change * inside).flatten(1).sum(1) / inside.sum()


def _changes(
    fused: Tensor, sources: Tensor, mask: Tensor | None, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the excess and the change of the fused volume, and which of both count."""
    if fused.ndim != 5 or fused.shape[1] != 1:
        raise InputError(f"flicker needs a volume [B, 1, H, W, D], not {list(fused.shape)}.")
    expected = (len(fused), 2, *fused.shape[2:])
    if sources.shape != expected:
        raise InputError(f"the sources must be {list(expected)}, not {list(sources.shape)}.")
    if not -3 <= axis <= 2:
        raise InputError(f"slice axis {axis} does not exist; use 0, 1 or 2 (or -3 to -1).")
    dim = axis % 3 + 2
    if fused.shape[dim] < 2:
        raise InputError("flicker needs at least two slices.")
    plain = [image.detach().as_subclass(Tensor).double() for image in (fused, sources)]
    change, own = (image.diff(dim=dim).abs() for image in plain)
    excess = (change - own.amax(1, keepdim=True)).clamp_min(0)
    if mask is None:
        inside = torch.ones_like(change[0, 0], dtype=torch.bool)
    else:
        if mask.shape != fused.shape[2:]:
            raise InputError(f"the mask must be {list(fused.shape[2:])}, not {list(mask.shape)}.")
        along, size = dim - 2, mask.shape[dim - 2]
        inside = mask.narrow(along, 0, size - 1) & mask.narrow(along, 1, size - 1)
    return excess, change, inside.to(change.device)
