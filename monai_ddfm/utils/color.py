r"""BT.601 luminance and chroma, CIELAB, and pseudo-color tables, on the tensor's own device.

With :math:`K_R = 0.299`, :math:`K_G = 0.587`, :math:`K_B = 0.114` and R, G, B in [0, 1]:

.. math::
    Y   &= K_R R + K_G G + K_B B \\
    C_b &= \tfrac12 + \frac{B - Y}{2 (1 - K_B)}, \qquad
    C_r  = \tfrac12 + \frac{R - Y}{2 (1 - K_R)}

This is the full-range form: all three channels fill [0, 1] and grey has chroma 1/2. The
limited-range form of studio video, Y in [16, 235] / 255 and chroma in [16, 240] / 255, is kept
beside it because the published DDFM code computes with it (`rgb_to_ycbcr_limited`).

A color of luminance Y is written here as :math:`Y + d` with an offset :math:`d` from grey whose
own luminance is zero. Scaling :math:`d` changes neither the luminance nor the hue (neither the
angle of (Cb, Cr) nor that of HSV), only the saturation. `merge_chroma` therefore gives a new
luminance :math:`Y'` the offset of another color by

.. math::
    s = \min\Big(1,\ \min_{c: d_c > 0} \frac{1 - Y'}{d_c},\ \min_{c: d_c < 0} \frac{Y'}{-d_c}\Big)
    , \qquad \mathrm{RGB}' = Y' + s\,d

the largest :math:`s` that stays inside the RGB cube: nothing is clipped, black stays black.

CIELAB [3] says how different two colors look rather than how they are stored. sRGB values [4] are
made linear, taken to the tristimulus values X, Y, Z, divided by those of the white
:math:`X_n, Y_n, Z_n` (D65), and compressed by :math:`g(t) = t^{1/3}` above
:math:`(6/29)^3` and :math:`g(t) = t / (3 (6/29)^2) + 4/29` below:

.. math::
    L = 116\, g(Y/Y_n) - 16, \qquad
    a = 500\,(g(X/X_n) - g(Y/Y_n)), \qquad
    b = 200\,(g(Y/Y_n) - g(Z/Z_n))

Nothing in this module leaves the device or the floating-point type of its input.

References:
    [1] Recommendation ITU-R BT.601-7, section 2.5.
    [2] DICOM PS3.6, annex B: Well-known Color Palettes.
    [3] ISO/CIE 11664-4:2019, Colorimetry, part 4: CIE 1976 L*a*b* colour space.
    [4] IEC 61966-2-1:1999, default RGB colour space sRGB.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import matplotlib as mpl
import numpy as np
import torch
from pydicom.pixels.processing import apply_color_lut

from monai_ddfm.errors import InputError

__all__ = [
    "COLOR_TABLES",
    "HUE_TABLES",
    "apply_color_table",
    "color_table",
    "from_linear",
    "lab_to_rgb",
    "luminance",
    "merge_chroma",
    "rgb_to_lab",
    "rgb_to_ycbcr",
    "rgb_to_ycbcr_limited",
    "to_linear",
    "white_level",
    "ycbcr_limited_to_rgb",
    "ycbcr_to_rgb",
]

_KR: Final = 0.299
_KG: Final = 0.587
_KB: Final = 0.114

# BT.601 for 8-bit studio levels, with the customary rounding to three decimals.
_LIMITED: Final = (
    (65.481 / 255, 128.553 / 255, 24.966 / 255),
    (-37.797 / 255, -74.203 / 255, 112.0 / 255),
    (112.0 / 255, -93.786 / 255, -18.214 / 255),
)
_LIMITED_OFFSET: Final = (16 / 255, 128 / 255, 128 / 255)
_LIMITED_INVERSE: Final[list[list[float]]] = np.linalg.inv(np.array(_LIMITED)).tolist()

# Linear sRGB to XYZ: the primaries of ITU-R BT.709 with the white D65.
_XYZ: Final = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_XYZ_INVERSE: Final[list[list[float]]] = np.linalg.inv(np.array(_XYZ)).tolist()
# The sums of the rows rather than rounded tables of D65, so that gray has a = b = 0 exactly.
_WHITE_XYZ: Final = tuple(sum(row) for row in _XYZ)
_LAB_KNEE: Final = 6 / 29

_DICOM_TABLES: Final = {
    "pet": "1.2.840.10008.1.5.2",
    "hot_iron": "1.2.840.10008.1.5.1",
    "hot_metal_blue": "1.2.840.10008.1.5.3",
    "pet_20_step": "1.2.840.10008.1.5.4",
}
_PERCEPTUAL: Final = ("viridis", "plasma", "inferno", "magma", "cividis")
_MATPLOTLIB_TABLES: Final = (*_PERCEPTUAL, "turbo", "hot", "gray")
_HUES: Final = {"orange": (1.0, 0.5, 0.1), "cyan": (0.0, 0.75, 1.0), "magenta": (1.0, 0.2, 0.9)}
_PALE: Final = 0.6

COLOR_TABLES: Final[tuple[str, ...]] = (*_DICOM_TABLES, *_MATPLOTLIB_TABLES, *_HUES)
"""The names that `color_table` knows."""

HUE_TABLES: Final[tuple[str, ...]] = tuple(_HUES)
"""Those of a single hue, black to pale: so several volumes can be told apart by their hues."""


def luminance(rgb: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Return the BT.601 luminance of an RGB image.

    Args:
        rgb: floating-point tensor with three channels along `dim`, any range.
        dim: the channel dimension.

    Returns:
        Tensor of the same range and shape, with one channel along `dim`.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    red, green, blue = _three(rgb, dim)
    return (_KR * red + _KG * green + _KB * blue).unsqueeze(dim)


def rgb_to_ycbcr(rgb: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Convert RGB to full-range YCbCr.

    Args:
        rgb: [..., 3, ...] in [0, 1], channels along `dim`.
        dim: the channel dimension.

    Returns:
        Y, Cb, Cr along `dim`, each in [0, 1]; grey has Cb = Cr = 0.5.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    red, green, blue = _three(rgb, dim)
    luma = _KR * red + _KG * green + _KB * blue
    cb = 0.5 + (blue - luma) / (2 * (1 - _KB))
    cr = 0.5 + (red - luma) / (2 * (1 - _KR))
    return torch.stack((luma, cb, cr), dim)


def ycbcr_to_rgb(ycbcr: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Convert full-range YCbCr to RGB, the exact inverse of `rgb_to_ycbcr`.

    Args:
        ycbcr: [..., 3, ...], channels along `dim`, each in [0, 1].
        dim: the channel dimension.

    Returns:
        RGB along `dim`; in [0, 1] for every color inside the gamut, not clipped otherwise.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    luma, cb, cr = _three(ycbcr, dim)
    blue = luma + 2 * (1 - _KB) * (cb - 0.5)
    red = luma + 2 * (1 - _KR) * (cr - 0.5)
    green = (luma - _KR * red - _KB * blue) / _KG
    return torch.stack((red, green, blue), dim)


def rgb_to_ycbcr_limited(rgb: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Convert RGB to limited-range YCbCr, as ``skimage.color.rgb2ycbcr(rgb) / 255`` does.

    Args:
        rgb: as for `rgb_to_ycbcr`.
        dim: the channel dimension.

    Returns:
        Y in [16, 235] / 255 and Cb, Cr in [16, 240] / 255 along `dim`.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    red, green, blue = _three(rgb, dim)
    rows = zip(_LIMITED, _LIMITED_OFFSET, strict=True)
    return torch.stack([a * red + b * green + c * blue + offset for (a, b, c), offset in rows], dim)


def ycbcr_limited_to_rgb(ycbcr: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Convert limited-range YCbCr to RGB, as ``skimage.color.ycbcr2rgb(ycbcr * 255)`` does.

    Args:
        ycbcr: as from `rgb_to_ycbcr_limited`.
        dim: the channel dimension.

    Returns:
        RGB along `dim`; in [0, 1] for every color inside the gamut, not clipped otherwise.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    luma, cb, cr = _three(ycbcr, dim)
    levels = (luma - _LIMITED_OFFSET[0], cb - _LIMITED_OFFSET[1], cr - _LIMITED_OFFSET[2])
    return torch.stack(
        [a * levels[0] + b * levels[1] + c * levels[2] for a, b, c in _LIMITED_INVERSE], dim
    )


def rgb_to_lab(rgb: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Convert sRGB to CIELAB with the white D65.

    Args:
        rgb: [..., 3, ...] in [0, 1], channels along `dim`, with the transfer curve of sRGB.
        dim: the channel dimension.

    Returns:
        L in [0, 100], a in about [-86, 98] and b in about [-108, 94] along `dim`; gray has
        a = b = 0.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    channels = [to_linear(channel) for channel in _three(rgb, dim)]
    x, y, z = (
        _compress(sum(m * c for m, c in zip(row, channels, strict=True)) / white)
        for row, white in zip(_XYZ, _WHITE_XYZ, strict=True)
    )
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim)


def lab_to_rgb(lab: torch.Tensor, *, dim: int = 1) -> torch.Tensor:
    """Convert CIELAB to sRGB, the inverse of `rgb_to_lab`.

    Args:
        lab: [..., 3, ...], L in [0, 100], a and b, channels along `dim`.
        dim: the channel dimension.

    Returns:
        RGB along `dim`; in [0, 1] for every color inside the gamut, not clipped otherwise.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    lightness, a, b = _three(lab, dim)
    y = (lightness + 16) / 116
    compressed = (y + a / 500, y, y - b / 200)
    xyz = [white * _expand(t) for white, t in zip(_WHITE_XYZ, compressed, strict=True)]
    rows = [sum(m * c for m, c in zip(row, xyz, strict=True)) for row in _XYZ_INVERSE]
    return torch.stack([from_linear(torch.as_tensor(row)) for row in rows], dim)


def merge_chroma(
    luma: torch.Tensor, rgb: torch.Tensor, *, strength: torch.Tensor | float = 1.0, dim: int = 1
) -> torch.Tensor:
    """Give a luminance the chroma of a color image, without leaving the gamut.

    The offset of `rgb` from its own grey is scaled toward zero where the sum would leave the RGB
    cube, so that luminance and hue are kept exactly and only saturation is given up. Black and
    white therefore stay black and white, and where `rgb` is black the result is grey.

    Args:
        luma: the new luminance in [0, 1], one channel along `dim`.
        rgb: the color image in [0, 1], three channels along `dim`, otherwise of the same shape.
        strength: factor of the chroma in [0, 1], a number or a tensor of the shape of `luma`.
        dim: the channel dimension.

    Returns:
        RGB in [0, 1] along `dim`, whose luminance is `luma`.

    Raises:
        ValueError: if `dim` does not hold three channels or the type is not floating point.
    """
    luma = luma.clamp(0, 1)
    offset = (rgb - luminance(rgb, dim=dim)) * strength
    tiny = torch.finfo(offset.dtype).tiny
    room = torch.where(offset > 0, 1 - luma, luma) / offset.abs().clamp_min(tiny)
    scale = room.amin(dim, keepdim=True).clamp_max(1)
    # The clamp only removes rounding in the last place.
    return (luma + scale * offset).clamp(0, 1)


def white_level(rgb: torch.Tensor, *, name: str = "the volume") -> float:
    """Return what white is in an RGB volume: 1, 255 or 65535, by its largest value.

    A tenth is allowed above, because interpolation of higher order overshoots.

    Args:
        rgb: [3, ...] of any type.
        name: how an error calls the volume.

    Returns:
        The value of white.

    Raises:
        InputError: if the values are larger than those of 16 bits.
    """
    largest = float(rgb.max())
    for white in (1.0, 255.0, 65535.0):
        if largest <= 1.1 * white:
            return white
    raise InputError(f"{name} has RGB values up to {largest:g}; give 8 or 16 bits per channel.")


def color_table(name: str) -> torch.Tensor:
    """Return a pseudo-color table by name.

    The DICOM palettes are read from the palette files that pydicom carries, most others from
    matplotlib; those of a single hue are computed.

    Args:
        name: one of `COLOR_TABLES`; case, blanks and hyphens do not matter.

    Returns:
        float32 [256, 3], RGB in [0, 1].

    Raises:
        InputError: if no table has this name.
    """
    known = name.strip().lower().replace("-", "_").replace(" ", "_")
    if known not in COLOR_TABLES:
        raise InputError(f"color table {name!r} is unknown; use one of {', '.join(COLOR_TABLES)}.")
    return torch.tensor(_table_entries(known), dtype=torch.float32)


def apply_color_table(
    scalar: torch.Tensor, table: torch.Tensor, *, interpolate: bool = True, dim: int = 1
) -> torch.Tensor:
    """Color a scalar image by a table.

    Args:
        scalar: values in [0, 1], one channel along `dim`; values outside take the first or the
            last color, NaN the first.
        table: [N, 3] colors in [0, 1], for example from `color_table`.
        interpolate: between neighboring entries; otherwise the nearest entry is taken.
        dim: the channel dimension.

    Returns:
        RGB of the type and on the device of `scalar`, three channels along `dim`.

    Raises:
        ValueError: if `dim` does not hold one channel or the type is not floating point.
    """
    if scalar.shape[dim] != 1 or not scalar.is_floating_point():
        raise ValueError(f"expected floating point and 1 channel along {dim}, got {scalar.shape}")
    colors = table.to(device=scalar.device, dtype=scalar.dtype)
    # Half precision has too few digits to address 256 entries and a fraction.
    wide = scalar.to(torch.promote_types(scalar.dtype, torch.float32)).squeeze(dim)
    position = torch.nan_to_num(wide, nan=0.0).clamp(0, 1) * (len(colors) - 1)
    if not interpolate:
        return colors[position.round().long()].movedim(-1, dim).contiguous()
    below = position.floor().long()
    above = (below + 1).clamp_max(len(colors) - 1)
    fraction = (position - below).to(scalar.dtype).unsqueeze(-1)
    return torch.lerp(colors[below], colors[above], fraction).movedim(-1, dim).contiguous()


def to_linear(value: torch.Tensor) -> torch.Tensor:
    """Undo the transfer curve of sRGB; below the knee it is a line, also for negative values."""
    curved = ((value.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(value > 0.04045, curved, value / 12.92)


def from_linear(value: torch.Tensor) -> torch.Tensor:
    """Apply the transfer curve of sRGB."""
    curved = 1.055 * value.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(value > 0.0031308, curved, 12.92 * value)


def _compress(share: torch.Tensor | float) -> torch.Tensor:
    """Return g(t) of a share of the white: a cube root with a line near black."""
    share = torch.as_tensor(share)
    knee = _LAB_KNEE**3
    # The clamp keeps the gradient of the branch that is not taken finite.
    return torch.where(
        share > knee, share.clamp_min(knee) ** (1 / 3), share / (3 * _LAB_KNEE**2) + 4 / 29
    )


def _expand(compressed: torch.Tensor) -> torch.Tensor:
    """Return the inverse of `_compress`."""
    line = 3 * _LAB_KNEE**2 * (compressed - 4 / 29)
    return torch.where(compressed > _LAB_KNEE, compressed**3, line)


@lru_cache
def _table_entries(name: str) -> tuple[tuple[float, ...], ...]:
    """Return the 256 RGB entries of a known table as tuples, which nobody can change."""
    steps = np.arange(256, dtype=np.uint8)
    if name in _DICOM_TABLES:
        entries = apply_color_lut(steps, palette=_DICOM_TABLES[name]) / 255.0
    elif name in _HUES:
        rise = (steps / 255.0)[:, None]
        hue = np.array(_HUES[name])
        entries = rise * hue + _PALE * rise**4 * (1 - hue)
    else:
        entries = mpl.colormaps[name].resampled(256)(steps)[:, :3]
    return tuple(tuple(float(value) for value in entry) for entry in entries)


def _three(image: torch.Tensor, dim: int) -> tuple[torch.Tensor, ...]:
    """Return the three channels along `dim`."""
    if image.shape[dim] != 3 or not image.is_floating_point():
        shape = tuple(image.shape)
        raise ValueError(f"expected floating point and 3 channels along {dim}, got {shape}")
    return tuple(image.unbind(dim))
