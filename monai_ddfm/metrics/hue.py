r"""Is the color of the functional image still that of the functional image?

The hue is that of HSV, an angle of which red is 0, green 120 and blue 240 degrees. It is compared
where the color source has a hue worth keeping: bright (V) and saturated (S) enough. The error is
the shorter way around the circle, at most 180 degrees; a pixel that has turned gray has lost its
hue and counts as 90 degrees, the mean error of a random hue.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["hue_angle", "hue_error"]

# Half an 8-bit step between the largest and the smallest channel.
_GRAY: Final = 0.5 / 255
_LOST: Final = 90.0


def hue_angle(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue in degrees [0, 360), saturation and value of HSV.

    Args:
        rgb: [B, 3, ...] in [0, 1].

    Returns:
        Three tensors [B, ...]; the hue of gray is 0.

    Raises:
        InputError: if the shape is another.
    """
    if rgb.ndim < 3 or rgb.shape[1] != 3:
        raise InputError(f"a color image must have the shape [B, 3, ...], not {list(rgb.shape)}.")
    red, green, blue = rgb.unbind(1)
    value, minimum = rgb.amax(1), rgb.amin(1)
    chroma = value - minimum
    divisor = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    saturation = chroma / torch.where(value > 0, value, 1.0)
    return (hue * 60) % 360, saturation, value


def hue_error(
    fused: Tensor, color: Tensor, *, min_value: float = 0.2, min_saturation: float = 0.2
) -> Tensor:
    """Return the mean absolute error of the hue in degrees.

    Args:
        fused: [B, 3, ...], RGB in [0, 1].
        color: the color source, same shape.
        min_value: V of HSV from which the source counts as bright.
        min_saturation: S of HSV from which the source counts as saturated.

    Returns:
        [B] in [0, 180]; NaN where the source has no such pixel.

    Raises:
        InputError: if a shape is not [B, 3, ...] or they differ.
    """
    if fused.shape != color.shape:
        raise InputError(
            f"the colors have different shapes, {list(fused.shape)} and {list(color.shape)}."
        )
    fused, color = (image.detach().as_subclass(Tensor) for image in (fused, color))
    wanted, saturation, value = hue_angle(color)
    found, _, _ = hue_angle(fused)
    counted = (value >= min_value) & (saturation >= min_saturation)
    turn = (found - wanted).abs()
    turn = torch.minimum(turn, 360 - turn)
    turn = torch.where(fused.amax(1) - fused.amin(1) < _GRAY, _LOST, turn)
    turn = torch.where(counted, turn, 0.0).flatten(1)
    return turn.sum(dim=1) / counted.flatten(1).sum(dim=1)
