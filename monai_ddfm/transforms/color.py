"""Scalars to color, color to luminance and chroma, and the two back together.

`MergeChroma` joins a luminance with the chroma of another volume by
`monai_ddfm.utils.color.merge_chroma`, which keeps luminance and hue and gives up saturation at the
border of the gamut. The chroma fades where the other volume is dark, so that regions only the MRI
shows stay grey with every table, also with those whose first color is not black.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor, ensure_tuple_rep

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.utility import with_meta_of
from monai_ddfm.utils.color import (
    apply_color_table,
    color_table,
    merge_chroma,
    rgb_to_ycbcr,
    white_level,
    ycbcr_to_rgb,
)
from monai_ddfm.visualize.color_styles import smooth_step

__all__ = [
    "DEFAULT_TABLE",
    "MergeChroma",
    "MergeChromaD",
    "MergeChromaDict",
    "MergeChromad",
    "PseudoColor",
    "PseudoColorD",
    "PseudoColorDict",
    "PseudoColord",
    "SplitLuminanceChroma",
    "SplitLuminanceChromaD",
    "SplitLuminanceChromaDict",
    "SplitLuminanceChromad",
    "smooth_step",
    "unit_rgb",
]

DEFAULT_TABLE: Final = "inferno"
"""From black to yellow: the less uptake, the less chroma, but none of it gone at the top, where a
table that ends in white would leave the strongest uptake grey."""


class PseudoColor(Transform):  # type: ignore[misc]
    """Color a scalar volume by a table.

    Args:
        table: a name that `monai_ddfm.utils.color.color_table` knows.
        interpolate: between the entries of the table.

    Raises:
        InputError: if no table has this name.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(self, table: str = DEFAULT_TABLE, *, interpolate: bool = True) -> None:
        self.table = color_table(table)
        self.interpolate = interpolate

    def __call__(self, img: torch.Tensor) -> MetaTensor:
        """Map [1, H, W(, D)] in [-1, 1] to RGB [3, H, W(, D)] in [0, 1]."""
        source = _metatensor(img)
        scalar = (source.as_tensor() + 1) / 2
        rgb = apply_color_table(scalar, self.table, interpolate=self.interpolate, dim=0)
        return with_meta_of(source, rgb)


class SplitLuminanceChroma(Transform):  # type: ignore[misc]
    """Split a volume in color into luminance and chroma (full-range BT.601)."""

    backend = PseudoColor.backend

    def __call__(self, img: torch.Tensor) -> tuple[MetaTensor, MetaTensor]:
        """Split RGB.

        Args:
            img: [3, H, W(, D)] in [0, 1], [0, 255] or [0, 65535].

        Returns:
            Luminance [1, H, W(, D)] and chroma (Cb, Cr) [2, H, W(, D)], both in [0, 1], grey at
            0.5.
        """
        source = _metatensor(img)
        ycbcr = rgb_to_ycbcr(unit_rgb(source), dim=0).clamp(0, 1)
        return with_meta_of(source, ycbcr[:1]), with_meta_of(source, ycbcr[1:])


class MergeChroma(Transform):  # type: ignore[misc]
    """Join a luminance with the chroma of another volume, inside the gamut.

    Args:
        fade: brightness of the colored volume, in [0, 1], below which its chroma fades smoothly to
            nothing; 0 for no fading.

    Raises:
        InputError: if `fade` is not in [0, 1].
    """

    backend = PseudoColor.backend

    def __init__(self, *, fade: float = 0.1) -> None:
        if not 0 <= fade <= 1:
            raise InputError(f"the fade of the color is {fade}; give a number from 0 to 1.")
        self.fade = fade

    def __call__(
        self, luma: torch.Tensor, color: torch.Tensor, brightness: torch.Tensor | None = None
    ) -> MetaTensor:
        """Merge.

        Args:
            luma: [1, H, W(, D)] in [0, 1].
            color: RGB [3, H, W(, D)] in [0, 1], or chroma [2, H, W(, D)] as from
                `SplitLuminanceChroma`.
            brightness: [1, H, W(, D)] in [0, 1] that decides where the chroma fades; by default
                the largest of R, G and B. Chroma alone fades only by this.

        Returns:
            RGB [3, H, W(, D)] in [0, 1] whose luminance is `luma`, with the metadata of `luma`.
        """
        target = _metatensor(luma)
        grey = target.as_tensor()
        rgb = _plain_like(color, grey)
        if len(rgb) == 2:
            rgb = ycbcr_to_rgb(torch.cat((torch.full_like(rgb[:1], 0.5), rgb)), dim=0)
        elif brightness is None:
            brightness = rgb.amax(0, keepdim=True)
        strength: torch.Tensor | float = 1.0
        if brightness is not None and self.fade > 0:
            strength = smooth_step(_plain_like(brightness, grey) / self.fade)
        return with_meta_of(target, merge_chroma(grey, rgb, strength=strength, dim=0))


class PseudoColord(MapTransform):  # type: ignore[misc]
    """Dictionary form of `PseudoColor`.

    Args:
        keys: scalar volumes, which are replaced by RGB.
        table: a name that `monai_ddfm.utils.color.color_table` knows.
        interpolate: between the entries of the table.
        allow_missing_keys: pass over keys that are absent.
    """

    backend = PseudoColor.backend

    def __init__(
        self,
        keys: KeysCollection,
        table: str = DEFAULT_TABLE,
        *,
        interpolate: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.color = PseudoColor(table, interpolate=interpolate)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Color the volumes under the keys."""
        return dict(data) | {key: self.color(data[key]) for key in self.key_iterator(data)}


class SplitLuminanceChromad(MapTransform):  # type: ignore[misc]
    """Dictionary form of `SplitLuminanceChroma`; the volume in color stays under its key.

    Args:
        keys: volumes in color.
        luminance_postfix: the luminance of ``moving`` goes to ``moving_luminance``.
        chroma_postfix: its chroma goes to ``moving_chroma``.
        allow_missing_keys: pass over keys that are absent.
    """

    backend = PseudoColor.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        luminance_postfix: str = "luminance",
        chroma_postfix: str = "chroma",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.postfixes = (luminance_postfix, chroma_postfix)
        self.split = SplitLuminanceChroma()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the two parts of the volumes under the keys."""
        case = dict(data)
        for key in self.key_iterator(data):
            names = (f"{key}_{postfix}" for postfix in self.postfixes)
            case.update(zip(names, self.split(data[key]), strict=True))
        return case


class MergeChromad(MapTransform):  # type: ignore[misc]
    """Dictionary form of `MergeChroma`.

    Args:
        keys: luminances in [0, 1].
        color_key: RGB or chroma, one for all keys.
        brightness_key: what decides where the chroma fades, see `MergeChroma`.
        output_keys: where the results go; by default each replaces its luminance.
        fade: see `MergeChroma`.
        allow_missing_keys: pass over keys that are absent.
    """

    backend = PseudoColor.backend

    def __init__(
        self,
        keys: KeysCollection,
        color_key: str,
        *,
        brightness_key: str | None = None,
        output_keys: KeysCollection | None = None,
        fade: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.color_key, self.brightness_key = color_key, brightness_key
        self.output_keys = ensure_tuple_rep(output_keys or self.keys, len(self.keys))
        self.merge = MergeChroma(fade=fade)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Merge the volumes under the keys."""
        case = dict(data)
        brightness = None if self.brightness_key is None else case[self.brightness_key]
        for key, output in self.key_iterator(case, self.output_keys):
            case[output] = self.merge(case[key], case[self.color_key], brightness)
        return case


PseudoColorD = PseudoColorDict = PseudoColord
SplitLuminanceChromaD = SplitLuminanceChromaDict = SplitLuminanceChromad
MergeChromaD = MergeChromaDict = MergeChromad


def _metatensor(image: torch.Tensor) -> MetaTensor:
    """Return the image as a float32 MetaTensor."""
    return convert_to_tensor(image, dtype=torch.float32, track_meta=True)


def _plain_like(image: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the image as a plain tensor of the type and on the device of another."""
    plain: torch.Tensor = convert_to_tensor(image, track_meta=False).to(like)
    if plain.shape[1:] != like.shape[1:]:
        raise ValueError(f"grids differ: {tuple(plain.shape)} and {tuple(like.shape)}")
    return plain


def unit_rgb(source: MetaTensor, *, white: float | None = None) -> torch.Tensor:
    """Return a volume in color as plain RGB in [0, 1].

    Args:
        source: [3, H, W(, D)].
        white: the value of white; None is what `white_level` finds.
    """
    if len(source) != 3:
        raise ValueError(f"expected RGB [3, ...], got {tuple(source.shape)}")
    rgb: torch.Tensor = source.as_tensor()
    return (rgb / (white_level(rgb) if white is None else white)).clamp(0, 1)
