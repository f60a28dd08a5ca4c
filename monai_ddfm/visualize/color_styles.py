r"""How a gray picture and a color become one picture: four styles.

With the gray level :math:`g`, the color :math:`c` of the moving volume, and a strength
:math:`t \in [0, 1]` that fades to 0 where the moving volume is dark:

**mixed**, the default, is seen best by the model reader of `monai_ddfm.metrics.observer`. The gray
level is that of the fusion with a share :math:`\rho` of the MRI; a share k of the luminance is that
of the color itself, so that a strong uptake is bright, and of the chroma a part :math:`\gamma` is
shown,

.. math::
    g = (1 - \rho) f + \rho\, v, \qquad Y = (1 - k)\, g + k\, Y_c, \qquad
    (C_b, C_r) = \gamma\, t\,(C_b, C_r)_c .

Whole chroma does not fit into RGB beside much luminance, and would be cut there. Then less uptake,
which makes it darker and paler, would be darker alone: the cut gives back the chroma.

**ycbcr** gives the fused luminance :math:`g = f` the chroma of the color, `merge_chroma`.

**perceptual** joins fusion and color in OKLab (`monai_ddfm.visualize.perceptual`), lightness by
shares, hue and chroma whole,

.. math::
    L = (1 - k)\, L_f + k\, L_c, \qquad (a, b) = t\,(a_c, b_c)

and gives up chroma where sRGB has no such color. The share :math:`k` limits the lightness to where
the color exists: a strong uptake is neither washed out over bright tissue nor drowned over dark.
Lightness does not fade with :math:`t`. If it did, it would first fall as the uptake rises from
zero, and one lightness would stand for two uptakes.

**overlay** is what clinical viewers show: the color laid over the gray MRI :math:`g = v` in RGB
with an opacity :math:`\alpha`,

.. math::
    \mathrm{RGB} = (1 - \alpha)\, v + \alpha\, c

In every style a result is a function of gray level and color alone. With a color table it is one of
gray level and uptake, and `legend_colors` draws that function: a legend that is true for every
voxel, from which uptake can be read back.

**Bone** of a CT beside the tracer takes up nothing that its color could tell, and must be seen.
Where the CT shows it, r in [0, 1], more of its lightness is that of the fusion, and of the color
there is what stands out as uptake u,

.. math::
    \rho \to (1 - \tfrac{7}{10} r)\,\rho, \qquad k \to (1 - \tfrac12 r)\,k, \qquad
    t \to \big(1 - r\,(1 - s(u))\big)\,t

with a step s that rises from 0 at the uptake that spills over from the tissue beside bone to 1
above it. Outside bone, r = 0, nothing is different, and the legend is as true as without a CT. The
overlay has no lightness of the fusion; there bone is white in the color.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.utils.color import apply_color_table, color_table, luminance, merge_chroma
from monai_ddfm.visualize.perceptual import oklab_to_rgb, reduce_chroma, rgb_to_oklab

__all__ = ["COLOR_STYLES", "ColorStyle", "legend_colors", "smooth_step"]

_SPILL: Final = (0.15, 0.35)
"""Uptake in bone, from 0 to 1, between which its color comes in: blurred tissue, a finding."""

_GIVEN_UP: Final = 0.5
"""Of the color's share in the lightness of bone. All of it would leave a lesion in bone to chroma
alone: with SPECT less than .6 of its detectability was left, see how-to/several-sources."""

_GIVEN_UP_BY_FIXED: Final = 0.7
"""Of the MRI's share in the gray level of bone."""

COLOR_STYLES: Final = ("mixed", "ycbcr", "perceptual", "overlay")
"""The names of the styles, the default first."""


@dataclass(frozen=True, kw_only=True)
class ColorStyle:
    """A way of joining a gray picture and a color.

    Attributes:
        name: one of `COLOR_STYLES`.
        fade: brightness of the colored volume, in [0, 1], below which its color fades smoothly to
            nothing; 0 for no fading. The overlay does not fade.
        share: of the color in the lightness of the perceptual style, in [0, 1].
        opacity: of the overlay, in [0, 1].
        color_luminance: k of the style "mixed", in [0, 1].
        anatomy: rho of the style "mixed", in [0, 1].
        saturation: gamma of the style "mixed", in [0, 1].

    Raises:
        InputError: if the style is unknown, or a number is not in [0, 1].
    """

    name: str = COLOR_STYLES[0]
    fade: float = 0.1
    share: float = 0.7
    opacity: float = 0.5
    color_luminance: float = 0.6
    anatomy: float = 0.5
    saturation: float = 0.75

    def __post_init__(self) -> None:
        """Check the values."""
        if self.name not in COLOR_STYLES:
            known = ", ".join(COLOR_STYLES)
            raise InputError(f"color style {self.name!r} is unknown; use one of {known}.")
        for word, value in (
            ("fade", self.fade),
            ("share", self.share),
            ("opacity", self.opacity),
            ("own luminance", self.color_luminance),
            ("anatomy", self.anatomy),
            ("saturation", self.saturation),
        ):
            if not 0 <= value <= 1:
                raise InputError(f"the {word} of the color is {value}; give a number from 0 to 1.")

    @property
    def fixed_share(self) -> float:
        """Share of the fixed volume in the gray picture; the rest is the fusion."""
        return {"mixed": self.anatomy, "overlay": 1.0}.get(self.name, 0.0)

    def share_in(self, bone: Tensor | None) -> Tensor | float:
        """Return the share of the fixed volume in the gray picture, where bone is seen.

        Args:
            bone: as `join` takes it.
        """
        if bone is None or self.name == "overlay":
            return self.fixed_share
        return self.fixed_share * (1 - _GIVEN_UP_BY_FIXED * bone)

    @property
    def gray_name(self) -> str:
        """What the gray picture is called."""
        if self.name == "mixed":
            return "fused and MRI"
        return "MRI" if self.fixed_share else "fused luminance"

    def join(
        self,
        gray: Tensor,
        rgb: Tensor,
        brightness: Tensor | None = None,
        *,
        bone: Tensor | None = None,
    ) -> Tensor:
        """Join a gray picture and a color.

        Args:
            gray: [1, ...] in [0, 1]: the fused luminance with `fixed_share` of the fixed volume.
            rgb: [3, ...] in [0, 1], otherwise of the same shape.
            brightness: [1, ...] in [0, 1], decides where the color fades; by default the largest of
                R, G and B.
            bone: [1, ...] in [0, 1], where a CT shows bone; None if there is none. The overlay
                takes no note of it.

        Returns:
            RGB [3, ...] in [0, 1].
        """
        gray = gray.clamp(0, 1)
        if self.name == "overlay":
            return torch.lerp(gray.expand_as(rgb), rgb, self.opacity)
        shown = rgb.amax(0, keepdim=True) if brightness is None else brightness
        strength = smooth_step(shown / self.fade) if self.fade > 0 else torch.ones_like(gray)
        own: Tensor | float = self.color_luminance if self.name == "mixed" else self.share
        if bone is not None:
            low, high = _SPILL
            strength = strength * (1 - bone * (1 - smooth_step((shown - low) / (high - low))))
            own = own * (1 - _GIVEN_UP * bone)
        if self.name == "mixed":
            gray = torch.lerp(gray, luminance(rgb, dim=0), own)
            strength = self.saturation * strength
        if self.name in ("mixed", "ycbcr"):
            return merge_chroma(gray, rgb, strength=strength, dim=0)
        mixed = reduce_chroma(self.requested(gray, rgb, strength, share=own), dim=0)
        # The clamp only removes rounding.
        return oklab_to_rgb(mixed, dim=0).clamp(0, 1)

    def requested(
        self, gray: Tensor, rgb: Tensor, strength: Tensor, *, share: Tensor | float
    ) -> Tensor:
        """Return the OKLab color that the perceptual style asks for, before its chroma is reduced.

        Args:
            gray: [1, ...] in [0, 1].
            rgb: [3, ...] in [0, 1].
            strength: [1, ...] in [0, 1].
            share: of the color in the lightness, a number or [1, ...], in [0, 1].

        Returns:
            [3, ...]: L in [0, 1], a and b.
        """
        lightness = rgb_to_oklab(gray.expand_as(rgb), dim=0)[:1]
        color = rgb_to_oklab(rgb, dim=0)
        leaning = torch.lerp(lightness, color[:1], share)
        return torch.cat((leaning, strength * color[1:]))

    def described(self) -> dict[str, str | float]:
        """Return the style for a record: its name and the numbers that it uses."""
        numbers: dict[str, float] = {
            "mixed": {
                "fade": self.fade,
                "color_luminance": self.color_luminance,
                "anatomy": self.anatomy,
                "saturation": self.saturation,
            },
            "ycbcr": {"fade": self.fade},
            "perceptual": {"fade": self.fade, "share": self.share},
            "overlay": {"opacity": self.opacity},
        }[self.name]
        gray = {"mixed": "fused, fixed and color", "overlay": "the fixed volume"}
        return {"style": self.name, "luminance": gray.get(self.name, "fused"), **numbers}


def legend_colors(style: ColorStyle, table: str, *, size: int = 256) -> Tensor:
    """Return the colors of a style for every uptake and gray level.

    Args:
        style: of the fused picture.
        table: a name that `monai_ddfm.utils.color.color_table` knows.
        size: steps along each axis.

    Returns:
        float32 [3, size, size] in [0, 1]: gray level along the rows, black first; uptake along the
        columns, none first.

    Raises:
        InputError: if no table has this name.
    """
    steps = torch.linspace(0, 1, size)
    gray, uptake = (axis[None] for axis in torch.meshgrid(steps, steps, indexing="ij"))
    return style.join(gray, apply_color_table(uptake, color_table(table), dim=0), uptake)


def smooth_step(fraction: Tensor) -> Tensor:
    """Rise from 0 at 0 to 1 at 1, flat at both ends."""
    clipped = fraction.clamp(0, 1)
    return clipped * clipped * (3 - 2 * clipped)
