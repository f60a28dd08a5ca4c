"""From volumes to the slices that the network sees, and back.

Only what holds something is sampled: slices that are background in both sources are left out, and
the others are cropped to the box around everything that is not background, widened to sides the
network takes. What was left out is filled with the sources' average, which lies between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["SliceLayout", "crop_and_pad", "foreground"]

_BACKGROUND_TOLERANCE = 0.01
_MARGIN = 8


@dataclass(frozen=True, slots=True)
class SliceLayout:
    """Which slices of a volume are sampled, and which part of them.

    Attributes:
        kept: numbers of the slices that are sampled, ascending.
        top: first row of the box.
        left: first column of the box.
        height: rows of the box.
        width: columns of the box.
        padding: rows below and columns right of the box, by reflection, to reach a multiple of
            the network's divisor.
    """

    kept: tuple[int, ...]
    top: int
    left: int
    height: int
    width: int
    padding: tuple[int, int]

    @classmethod
    def of(cls, slices: Tensor, *, divisor: int, crop: bool, together: bool) -> SliceLayout:
        """Plan the sampling of `slices`.

        Args:
            slices: [N, 2, H, W] in [-1, 1].
            divisor: both sides must become multiples of this.
            crop: crop to the foreground's box; else every slice is kept whole.
            together: the slices are one volume and have one background; else each has its own, so
                that what becomes of one does not depend on the others.
        """
        height, width = slices.shape[-2:]
        mask = foreground(slices, together=together)
        filled = mask.flatten(1).any(dim=1)
        kept = tuple(int(number) for number in torch.nonzero(filled)[:, 0])
        rows, columns = (0, height), (0, width)
        if crop and kept:
            rows = _span(mask.any(dim=2).any(dim=0), divisor)
            columns = _span(mask.any(dim=1).any(dim=0), divisor)
        size = (rows[1] - rows[0], columns[1] - columns[0])
        padding = (-size[0] % divisor, -size[1] % divisor)
        return cls(kept, rows[0], columns[0], *size, padding)

    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the box."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


def foreground(slices: Tensor, *, together: bool) -> Tensor:
    """Where either source is above its background, its least value.

    Args:
        slices: [N, 2, H, W].
        together: the least value over all slices; else that of each slice.

    Returns:
        Boolean [N, H, W].
    """
    least = slices.amin(dim=(0, 2, 3) if together else (2, 3), keepdim=True)
    return (slices > least + _BACKGROUND_TOLERANCE).any(dim=1)


def crop_and_pad(slices: Tensor, layout: SliceLayout) -> Tensor:
    """Cut the layout's box out of [N, C, H, W] and pad it, by reflection where it is large enough.

    Returns:
        [N, C, H', W'] with H' and W' multiples of the layout's divisor.
    """
    rows, columns = layout.window()
    box = slices[..., rows, columns]
    below, right = layout.padding
    for amount, pad in ((below, (0, 0, 0, below)), (right, (0, right, 0, 0))):
        if amount:
            side = box.shape[-2] if pad[3] else box.shape[-1]
            box = functional.pad(box, pad, mode="reflect" if amount < side else "replicate")
    return box


def _span(occupied: Tensor, divisor: int) -> tuple[int, int]:
    """First and one-past-last index of the box along one side, widened to a multiple if it fits."""
    size = occupied.shape[0]
    indices = torch.nonzero(occupied)[:, 0]
    first = max(0, int(indices[0]) - _MARGIN)
    last = min(size, int(indices[-1]) + 1 + _MARGIN)
    length = last - first
    wanted = length + -length % divisor
    if wanted > size:
        return first, last
    # Real neighbours are better context than reflections of the box.
    start = min(max(0, first - (wanted - length) // 2), size - wanted)
    return start, start + wanted
