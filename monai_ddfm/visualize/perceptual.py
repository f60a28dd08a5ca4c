r"""OKLab: lightness, hue and chroma as they are seen, and the border of sRGB in it.

Linear sRGB [2] is taken to three cone-like responses, compressed by a cube root, and turned into
lightness L, and a and b, whose length is the chroma C and whose angle is the hue [1]:

.. math::
    (l, m, s)^\top = M_1\,\mathrm{RGB}, \qquad
    (L, a, b)^\top = M_2\,(\sqrt[3]{l}, \sqrt[3]{m}, \sqrt[3]{s})^\top

Hue is steadier here than in CIELAB, where less chroma turns blue into violet; that is why colors
are reduced here. With lightness and hue kept, the largest chroma that sRGB has is found by
bisection, for the colors beyond it alone: every ray from gray leaves the gamut once.

References:
    [1] Ottosson: A perceptual color space for image processing (2020), bottosson.github.io.
    [2] IEC 61966-2-1:1999, default RGB colour space sRGB.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.utils.color import from_linear, to_linear

__all__ = ["oklab_to_rgb", "reduce_chroma", "rgb_to_oklab"]

_M1: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_M2: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def _cleaned(rows: tuple[tuple[float, ...], ...], white: tuple[float, ...]) -> list[list[float]]:
    """Return rows whose sums are exactly those of white: the printed digits leave gray a tint."""
    matrix = np.array(rows)
    return (matrix + (np.array(white) - matrix.sum(1))[:, None] / 3).tolist()  # type: ignore[no-any-return]


_TO_CONES: Final = _cleaned(_M1, (1.0, 1.0, 1.0))
_TO_LAB: Final = _cleaned(_M2, (1.0, 0.0, 0.0))
_FROM_CONES: Final[list[list[float]]] = np.linalg.inv(np.array(_TO_CONES)).tolist()
_FROM_LAB: Final[list[list[float]]] = np.linalg.inv(np.array(_TO_LAB)).tolist()

_HALVINGS: Final = 20
_ROUNDING: Final = 1e-5  # of linear light: far less than a step of 8 bits


def rgb_to_oklab(rgb: Tensor, *, dim: int = 1) -> Tensor:
    """Convert sRGB to OKLab.

    Args:
        rgb: [..., 3, ...] in [0, 1], channels along `dim`.
        dim: the channel dimension.

    Returns:
        L in [0, 1], a and b in about [-0.4, 0.4] along `dim`; gray has a = b = 0.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    cones = _times(_TO_CONES, to_linear(rgb), dim)
    return _times(_TO_LAB, cones.sign() * cones.abs() ** (1 / 3), dim)


def oklab_to_rgb(lab: Tensor, *, dim: int = 1) -> Tensor:
    """Convert OKLab to sRGB, the inverse of `rgb_to_oklab`.

    Args:
        lab: [..., 3, ...], L in [0, 1], a and b, channels along `dim`.
        dim: the channel dimension.

    Returns:
        RGB along `dim`; in [0, 1] for every color inside the gamut, not clipped otherwise.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    return from_linear(_linear(lab, dim))


def reduce_chroma(lab: Tensor, *, dim: int = 1) -> Tensor:
    """Bring colors into sRGB by their chroma alone.

    Args:
        lab: OKLab [..., 3, ...], L in [0, 1], channels along `dim`.
        dim: the channel dimension.

    Returns:
        The same colors; those that sRGB does not have with the largest chroma that it has at their
        lightness and hue.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    found = lab.movedim(dim, 0).clone()
    found[0].clamp_(0, 1)
    flat = found.reshape(3, -1)
    beyond = ~_inside(flat)
    outer = flat[:, beyond]
    low, high = torch.zeros_like(outer[:1]), torch.ones_like(outer[:1])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = _inside(torch.cat((outer[:1], middle * outer[1:])))
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    flat[1:, beyond] = low * outer[1:]
    return flat.reshape(found.shape).movedim(0, dim)


def _inside(lab: Tensor) -> Tensor:
    linear = _linear(lab, 0)
    return ((linear >= -_ROUNDING) & (linear <= 1 + _ROUNDING)).all(0)


def _linear(lab: Tensor, dim: int) -> Tensor:
    return _times(_FROM_CONES, _times(_FROM_LAB, lab, dim) ** 3, dim)


def _times(rows: list[list[float]], image: Tensor, dim: int) -> Tensor:
    """Multiply the three channels of every pixel by a matrix."""
    if image.shape[dim] != 3 or not image.is_floating_point():
        shape = tuple(image.shape)
        raise ValueError(f"expected floating point and 3 channels along {dim}, got {shape}")
    first, second, third = image.unbind(dim)
    return torch.stack([a * first + b * second + c * third for a, b, c in rows], dim)
