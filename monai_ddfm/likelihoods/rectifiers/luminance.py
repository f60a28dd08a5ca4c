r"""Luminance of the images that rectifiers work on, and how it is put back.

Rectifiers act on luminance only. With one channel that is the image itself. With three, luminance
is taken out, rectified and put back, and chroma stays:

* ``full``: :math:`L = 0.299 R + 0.587 G + 0.114 B` of the image in [-1, 1], the range that the
  sources have; :math:`RGB \leftarrow RGB + (L' - L)`.
* ``limited``: what the published code does. Studio-range luminance of the image in [-1, 1] as if it
  were in [0, 1], :math:`L = \tfrac{219}{255} x + \tfrac{16}{255}` for grey x, is compared with
  full-range sources, and the inverse, which has the slope 255/219, leaves [-1, 1].
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.utils import color

__all__ = [
    "Luminance",
    "at_least_float32",
    "check_luminance",
    "luminance_of",
    "split_sources",
    "with_luminance",
]

Luminance = Literal["full", "limited"]


def luminance_of(x0: Tensor, mode: Luminance) -> Tensor:
    """Return the luminance [B, 1, H, W] of a one-channel or RGB image."""
    if x0.shape[1] == 1:
        return x0
    if mode == "full":
        return color.luminance(x0, dim=1)
    return color.rgb_to_ycbcr_limited(x0, dim=1)[:, :1]


def with_luminance(x0: Tensor, luminance: Tensor, mode: Luminance) -> Tensor:
    """Return the image with another luminance and its own chroma."""
    if x0.shape[1] == 1:
        return luminance
    if mode == "full":
        return x0 + (luminance - color.luminance(x0, dim=1))
    chroma = color.rgb_to_ycbcr_limited(x0, dim=1)[:, 1:]
    return color.ycbcr_limited_to_rgb(torch.cat((luminance, chroma), dim=1), dim=1)


def split_sources(sources: Tensor) -> tuple[Tensor, Tensor]:
    """Return fixed and moving, each [B, 1, H, W]."""
    if sources.ndim != 4 or sources.shape[1] != 2:
        raise ValueError(f"sources must be [B, 2, H, W], got {tuple(sources.shape)}")
    return sources[:, :1], sources[:, 1:]


def at_least_float32(image: Tensor) -> Tensor:
    """Raise half precision to float32; float64 stays."""
    return image.to(torch.promote_types(image.dtype, torch.float32))


def check_luminance(mode: str) -> None:
    """Raise InputError unless `mode` is a way of taking luminance."""
    if mode not in get_args(Luminance):
        raise InputError(f"luminance {mode!r} is unknown; use {' or '.join(get_args(Luminance))}.")
