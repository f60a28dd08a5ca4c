"""From volumes to the patches that the network sees, and back.

Only what holds something is sampled: slices that are background in both sources are left out, and
of every other slice a patch is taken around what is not background, with sides that the network
takes. What was left out is filled with the sources' average, which lies between them.

Background is where the mean over a few pixels stays close to the source's least value; a mean,
because single noisy pixels outside the head would blow a patch up to the whole slice. Where the
noise is known, what it makes of a black background is background too. Sides come in coarse steps,
so that many slices have patches of one size and go through the network together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["NoiseAtBlack", "Patch", "SliceLayout", "chosen", "cut", "foreground", "pad_to_frame"]

_BACKGROUND_TOLERANCE = 0.02
_SMOOTHING = 5
# Of a mean of 5 by 5 pixels: beyond so many deviations is one in hundreds of volumes.
_CLEAR_OF_NOISE = 6.0
_MARGIN = 8
_SIDE_STEP = 32
_SIDE_STEP_IN_NOISE = 16
_CHUNK = 16


NoiseAtBlack = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """The part of one slice that is sampled, in pixels of the padded slice.

    Attributes:
        number: of the slice.
        top: first row.
        left: first column.
        height: rows.
        width: columns.
    """

    number: int
    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def window(self, *, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the patch in a slice of so many rows and columns."""
        bottom, right = min(self.top + self.height, height), min(self.left + self.width, width)
        return slice(self.top, bottom), slice(self.left, right)


@dataclass(frozen=True, slots=True)
class SliceLayout:
    """Which parts of which slices are sampled.

    Attributes:
        height: rows of a slice.
        width: columns of a slice.
        frame: height and width of a slice padded to multiples of the network's divisor.
        patches: one for every slice that is sampled, in ascending order.
    """

    height: int
    width: int
    frame: tuple[int, int]
    patches: tuple[Patch, ...]

    @classmethod
    def of(
        cls,
        slices: Tensor,
        *,
        divisor: int,
        crop: bool,
        together: bool,
        noise_at_black: NoiseAtBlack | None = None,
    ) -> SliceLayout:
        """Plan the sampling of `slices`.

        Args:
            slices: [N, C, H, W] in [-1, 1].
            divisor: both sides of a patch must be multiples of this.
            crop: cut patches; else every slice is kept whole.
            together: the slices are one volume and have one background; else each has its own, so
                that what becomes of one does not depend on the others.
            noise_at_black: of each source, mean and deviation of its noisy values above black;
                None is that of clean sources.
        """
        height, width = slices.shape[-2:]
        frame = (height + -height % divisor, width + -width % divisor)
        rows, columns = _occupied(slices, together=together, noise_at_black=noise_at_black)
        side_step = _SIDE_STEP if noise_at_black is None else _SIDE_STEP_IN_NOISE
        patches = []
        for number in torch.nonzero(rows.any(dim=1))[:, 0].tolist():
            top, left, sides = 0, 0, frame
            if crop:
                step = divisor * -(-side_step // divisor)
                top, below = _span(rows[number], step, frame[0])
                left, right = _span(columns[number], step, frame[1])
                sides = (below - top, right - left)
            patches.append(Patch(number, top, left, *sides))
        return cls(height, width, frame, tuple(patches))

    def place(self, part: Tensor, patch: Patch, slices: Tensor) -> None:
        """Put what was computed for a patch, [C, height, width], in its place in [N, C, H, W]."""
        rows, columns = patch.window(height=self.height, width=self.width)
        inside = part[:, : rows.stop - rows.start, : columns.stop - columns.start]
        slices[patch.number, :, rows, columns] = inside.to(slices)


def foreground(slices: Tensor, *, together: bool) -> Tensor:
    """Where any source, smoothed, is above its background, its least value.

    Args:
        slices: [N, C, H, W].
        together: the least value over all slices; else that of each slice.

    Returns:
        Boolean [N, H, W].
    """
    return _above(slices, _least(slices, together=together))


def pad_to_frame(images: Tensor, frame: Sequence[int]) -> Tensor:
    """Pad the ends of [N, C, H, W] or [N, C, H, W, D], by reflection where it is large enough."""
    for axis, wanted in enumerate(frame):
        side = images.shape[2 + axis]
        if amount := wanted - side:
            pads = [0] * (2 * len(frame))
            pads[2 * (len(frame) - axis) - 1] = amount
            mode = "reflect" if amount < side else "replicate"
            images = functional.pad(images, pads, mode=mode)
    return images


def chosen(slices: Tensor, numbers: Iterable[int]) -> Tensor:
    """Copy slices of [N, C, H, W] by their numbers, which a device is not asked to look up."""
    return torch.stack([slices[number] for number in numbers])


def cut(framed: Tensor, patches: Iterable[Patch]) -> Tensor:
    """Cut a patch of one size from each of [N, C, H, W]; returns [N, C, height, width]."""
    parts = [
        image[:, p.top : p.top + p.height, p.left : p.left + p.width]
        for image, p in zip(framed, patches, strict=True)
    ]
    return torch.stack(parts)


def _least(slices: Tensor, *, together: bool) -> Tensor:
    return slices.amin(dim=(0, 2, 3) if together else (2, 3), keepdim=True)


def _above(slices: Tensor, least: Tensor, noise_at_black: NoiseAtBlack | None = None) -> Tensor:
    excess = slices - least
    if noise_at_black is None:
        excess = excess.amax(dim=1)
        return functional.avg_pool2d(excess, _SMOOTHING, 1, _SMOOTHING // 2) > _BACKGROUND_TOLERANCE
    mean = functional.avg_pool2d(excess, _SMOOTHING, 1, _SMOOTHING // 2)
    reach = _CLEAR_OF_NOISE / _SMOOTHING
    above = [
        mean[:, source] > max(_BACKGROUND_TOLERANCE, at_black + reach * deviation)
        for source, (at_black, deviation) in enumerate(noise_at_black)
    ]
    return torch.stack(above).any(dim=0)


def _occupied(
    slices: Tensor, *, together: bool, noise_at_black: NoiseAtBlack | None
) -> tuple[Tensor, Tensor]:
    """Which rows and columns of every slice hold foreground: Boolean [N, H] and [N, W], on the CPU.

    A few slices at a time, because a volume may be large.
    """
    least = _least(slices, together=together).expand(len(slices), -1, -1, -1)
    rows, columns = [], []
    for part, floor in zip(torch.split(slices, _CHUNK), torch.split(least, _CHUNK), strict=True):
        mask = _above(part, floor, noise_at_black)
        rows.append(mask.any(dim=2))
        columns.append(mask.any(dim=1))
    return torch.cat(rows).cpu(), torch.cat(columns).cpu()


def _span(occupied: Tensor, step: int, limit: int) -> tuple[int, int]:
    """First and one-past-last index of the patch along a side of `limit` pixels with padding.

    Its length is a multiple of `step`, unless that is beyond the limit.
    """
    real = occupied.shape[0]
    indices = torch.nonzero(occupied)[:, 0]
    first = max(0, int(indices[0]) - _MARGIN)
    last = min(real, int(indices[-1]) + 1 + _MARGIN)
    length = min(last - first + -(last - first) % step, limit)
    # Real neighbors are better context than padding.
    start = max(0, min(first - (length - (last - first)) // 2, real - length))
    return start, start + length
