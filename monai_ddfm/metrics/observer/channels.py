r"""Difference-of-Gaussian channels: what a model observer sees of an image around a place.

The early visual system filters an image in bands of spatial frequency about an octave wide, the
same in all orientations as far as detection is concerned. The sparse channels of [1] are

.. math::
    C_j(f) = e^{-f^2 / (2 (q\,s_j)^2)} - e^{-f^2 / (2 s_j^2)}, \qquad q = 1.67

with f in cycles per pixel and widths :math:`s_j`. Here they are .02, .036, .065 and .117, a factor
of 1.8 apart: the bands peak at lesions of about 3 to 15 pixels. Each template is the inverse
Fourier transform of its band on a patch of 64 pixels, scaled to unit norm, so that white noise of
variance 1 in the image is noise of variance 1 in every channel. A uniform image is 0 in all.

Differences of chroma are seen at lower frequencies than those of lightness [2]; for them the finest
bands are left out.

References:
    [1] C. K. Abbey, H. H. Barrett, Human- and model-observer performance in ramp-spectrum noise:
        effects of regularization and object variability, JOSA A 18 (2001).
    [2] K. T. Mullen, The contrast sensitivity of human colour vision to red-green and blue-yellow
        chromatic gratings, Journal of Physiology 359 (1985).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError

__all__ = ["CHROMA_WIDTHS", "LIGHTNESS_WIDTHS", "Channels", "channel_outputs", "templates"]

LIGHTNESS_WIDTHS: Final = (0.02, 0.036, 0.065, 0.117)
"""Widths of the bands in cycles per pixel, for gray levels and for lightness."""

CHROMA_WIDTHS: Final = LIGHTNESS_WIDTHS[:2]
"""Those for chroma: all but the two finest."""


@dataclass(frozen=True, kw_only=True)
class Channels:
    """A bank of channels.

    Attributes:
        widths: of the bands, in cycles per pixel, each more than 0.
        ratio: q, of the two Gaussians of a band, more than 1.
        patch: side of the square that is looked at, in pixels, even.

    Raises:
        InputError: if one of them is out of range.
    """

    widths: tuple[float, ...] = LIGHTNESS_WIDTHS
    ratio: float = 1.67
    patch: int = 64

    def __post_init__(self) -> None:
        if not self.widths or not all(math.isfinite(s) and s > 0 for s in self.widths):
            raise InputError(f"channel widths {self.widths} are unusable; give numbers above 0.")
        if not (math.isfinite(self.ratio) and self.ratio > 1):
            raise InputError(f"a channel ratio of {self.ratio:g} is unusable; give 1.67, say.")
        if self.patch < 8 or self.patch % 2:
            raise InputError(f"a patch of {self.patch} pixels is unusable; give 64, say.")


def templates(channels: Channels) -> Tensor:
    """Return the templates of a bank of channels.

    Args:
        channels: the bank.

    Returns:
        float64 [C, patch, patch], each of unit norm and zero sum, centered on the pixel
        (patch / 2, patch / 2).
    """
    frequency = torch.fft.fftfreq(channels.patch, dtype=torch.float64)
    square = frequency[:, None] ** 2 + frequency**2
    bank = []
    for width in channels.widths:
        band = torch.exp(-square / (2 * (channels.ratio * width) ** 2))
        band -= torch.exp(-square / (2 * width**2))
        template = torch.fft.fftshift(torch.fft.ifft2(band).real)
        bank.append(template / template.norm())
    return torch.stack(bank)


def channel_outputs(image: Tensor, centers: Tensor, *, channels: Channels) -> Tensor:
    """Look at places of images through channels.

    Beyond the border the image is mirrored.

    Args:
        image: [N, H, W] of any range.
        centers: places (row, column) in pixels, integer [S, 2], inside the image.
        channels: the bank.

    Returns:
        float64 [N, S, C], in units of the image.

    Raises:
        InputError: if the image is smaller than half a patch, or a place is outside.
    """
    half = channels.patch // 2
    height, width = image.shape[-2:]
    if min(height, width) <= half:
        raise InputError(
            f"an image of {width} x {height} pixels is too small for the observer; it needs more "
            f"than {half} in both directions."
        )
    limits = torch.tensor([height, width])
    if bool(((centers < 0) | (centers >= limits)).any()):
        raise InputError(f"a place is outside the image of {width} x {height} pixels.")
    padded = functional.pad(image.detach().double()[:, None], (half,) * 4, mode="reflect")[:, 0]
    windows = padded.unfold(1, channels.patch, 1).unfold(2, channels.patch, 1)
    patches = windows[:, centers[:, 0], centers[:, 1]]
    # The windows are views; the patches and this product are all that takes memory.
    return patches.flatten(2) @ _columns(channels)


@lru_cache
def _columns(channels: Channels) -> Tensor:
    """Return the templates as columns [patch * patch, C]; shared, so not to be written to."""
    return templates(channels).flatten(1).T.contiguous()
