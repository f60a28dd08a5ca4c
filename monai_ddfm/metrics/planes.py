"""From images and volumes to the planes of gray levels that every metric is computed on.

The metrics of the fusion literature are defined for 8-bit pictures. Whatever comes in is brought
to gray levels on the scale 0 to 255: color by its BT.601 luminance, volumes slice by slice. The
two conventions differ in what happens then:

* ``evaluator``: levels are rounded to integers, as if the result had been saved as a picture and
  read again. This is what the evaluation script does that most recent papers print figures from
  (it circulates with CDDFuse and DDFM, among others).
* ``mean``: levels are kept as they are, so that a result of float32 is not judged by its rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.utils.color import luminance

__all__ = ["WHITE", "Convention", "Planes", "as_slices", "gray_levels", "working_dtype"]

Convention = Literal["evaluator", "mean"]

WHITE: Final = 255.0
# Interpolation of higher order overshoots a little; a factor of 255 is a wrong `data_range`.
_TOLERATED_EXCESS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Planes:
    """A fused image and its two sources as gray levels, slice by slice.

    Attributes:
        fused: [N, H, W] on the scale 0 to 255, float64 wherever the device has it.
        fixed: the first source, same shape.
        moving: the second source, same shape.
        batch: number of images; N is a multiple of it, the slices of one image are neighbors.
    """

    fused: Tensor
    fixed: Tensor
    moving: Tensor
    batch: int

    @classmethod
    def of(
        cls,
        fused: Tensor,
        sources: Tensor,
        *,
        convention: Convention = "evaluator",
        data_range: float | tuple[float, float] = 1.0,
        axis: int = -1,
    ) -> Planes:
        """Prepare images for the metrics.

        Args:
            fused: [B, 1, H, W] or [B, 1, H, W, D]; with three channels RGB, judged by luminance.
            sources: [B, 2, H, W] or [B, 2, H, W, D], fixed and moving in the same units.
            convention: ``evaluator`` rounds to 8 bit, ``mean`` does not.
            data_range: the value of white if black is 0, or the values of black and white.
            axis: the spatial axis along which a volume is cut into slices, 0 to 2 or -3 to -1.

        Raises:
            InputError: if the shapes do not fit, a value is not finite or is far outside the range.
        """
        if convention not in get_args(Convention):
            raise InputError(
                f"metric convention {convention!r} is unknown; use 'evaluator' or 'mean'."
            )
        if fused.ndim not in {4, 5} or fused.shape[1] not in {1, 3}:
            raise InputError(
                "the fused image must have the shape [B, 1, H, W] or [B, 1, H, W, D] (3 channels "
                f"for RGB), not {list(fused.shape)}."
            )
        expected = (fused.shape[0], 2, *fused.shape[2:])
        if sources.shape != expected:
            raise InputError(
                f"the sources must have the shape {list(expected)} of the fused image with two "
                f"channels, not {list(sources.shape)}."
            )
        levels = [
            gray_levels(image, data_range=data_range, convention=convention)
            for image in (fused, sources[:, :1], sources[:, 1:])
        ]
        fused_slices, fixed, moving = (as_slices(image, axis=axis) for image in levels)
        return cls(fused_slices, fixed, moving, batch=fused.shape[0])

    def chunks(self, count: int) -> Iterator[Planes]:
        """Cut into parts of at most `count` slices, which no longer know their batch."""
        parts = (torch.split(image, count) for image in (self.fused, self.fixed, self.moving))
        for fused, fixed, moving in zip(*parts, strict=True):
            yield Planes(fused, fixed, moving, batch=len(fused))

    def mean_over_slices(self, values: Tensor) -> Tensor:
        """Average over the slices of each image.

        Slices where both sources are constant hold nothing to judge and are left out, as are
        those where a metric is not defined (NaN).

        Args:
            values: [N].

        Returns:
            [B]; NaN where no slice is left.
        """
        if len(values) == self.batch:
            return values
        empty = (self.fixed.flatten(1).std(dim=1) == 0) & (self.moving.flatten(1).std(dim=1) == 0)
        return values.masked_fill(empty, math.nan).view(self.batch, -1).nanmean(dim=1)


def gray_levels(
    image: Tensor, *, data_range: float | tuple[float, float], convention: Convention
) -> Tensor:
    """Bring an image to the scale 0 to 255.

    Args:
        image: [B, 1 or 3, ...] of any type.
        data_range: the value of white if black is 0, or the values of black and white.
        convention: ``evaluator`` rounds to the integers 0 to 255.

    Returns:
        [B, 1, ...].

    Raises:
        InputError: if a value is not finite or is far outside the range.
    """
    black, white = data_range if isinstance(data_range, tuple | list) else (0.0, data_range)
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise InputError(f"data_range must be finite and ascending, not {data_range!r}.")
    # Metadata and history of a MetaTensor have no place in a figure.
    image = image.detach().as_subclass(Tensor).to(working_dtype(image.device))
    if not bool(image.isfinite().all()):
        raise InputError("an image to be judged holds NaN or infinite values; replace them first.")
    low, high = (float(value) for value in image.aminmax())
    slack = _TOLERATED_EXCESS * (white - black)
    if low < black - slack or high > white + slack:
        raise InputError(
            f"an image to be judged has values from {low:g} to {high:g}, but data_range says "
            f"{black:g} to {white:g}; give the data_range of the images."
        )
    if image.shape[1] == 3:
        image = luminance(image)
    levels = (image - black) * (WHITE / (white - black))
    return levels.round().clamp(0, WHITE) if convention == "evaluator" else levels


def as_slices(image: Tensor, *, axis: int) -> Tensor:
    """Cut [B, 1, H, W] or [B, 1, H, W, D] into [N, H, W].

    Raises:
        InputError: if a volume has no such axis.
    """
    image = image[:, 0]
    if image.ndim == 3:
        return image
    if not -3 <= axis <= 2:
        raise InputError(f"slice axis {axis} does not exist; use 0, 1 or 2 (or -3 to -1).")
    return image.movedim(axis % 3 + 1, 1).flatten(0, 1)


def working_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on devices that do not have it."""
    return torch.float32 if device.type == "mps" else torch.float64
