"""The colored form of a fusion, as it suits the modality.

========  ==========================================================================================
PET       chroma of the volume pseudo-colored by a table, or of the volume itself if it is in color
SPECT     the same
CT        grey: no volume in color, unless bone is to be tinted, which its HU tell apart
========  ==========================================================================================

How the color and the gray levels become one picture is a matter of style, see
`monai_ddfm.visualize.color_styles`. In the style "ycbcr", and with tinted bone, the luminance of
the result is the fused luminance everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import TransformBackends, convert_to_tensor

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source, as_sources
from monai_ddfm.transforms.color import (
    DEFAULT_TABLE,
    PseudoColor,
    unit_rgb,
)
from monai_ddfm.transforms.tracers import Tracers
from monai_ddfm.utils.color import merge_chroma, white_level
from monai_ddfm.utils.reports import add_report
from monai_ddfm.utils.slabs import slabs
from monai_ddfm.visualize.color_styles import ColorStyle, smooth_step

__all__ = ["ColorizeFusionD", "ColorizeFusionDict", "ColorizeFusiond", "tint_bone"]

BONE_RGB: Final = (1.0, 0.82, 0.55)
"""The warm tint; only its chroma is used."""

BONE_SOFTNESS_HU: Final = 100.0
"""The tint sets in over so many HU on either side of the threshold."""

_Gray = Callable[[torch.Tensor, slice, torch.Tensor | None], torch.Tensor]
"""Gives the gray levels of a part of the fused luminance, and of where bone is seen there."""


def tint_bone(luma: torch.Tensor, hounsfield: torch.Tensor, *, threshold: float) -> torch.Tensor:
    """Tint bone, leave everything else grey.

    Args:
        luma: fused luminance [1, H, W(, D)] in [0, 1].
        hounsfield: CT [1, H, W(, D)] in HU on the same grid.
        threshold: HU at which half of the tint is reached.

    Returns:
        RGB [3, H, W(, D)] in [0, 1] of the luminance `luma`.
    """
    strength = smooth_step((hounsfield - threshold) / (2 * BONE_SOFTNESS_HU) + 0.5)
    tint = torch.tensor(BONE_RGB, dtype=luma.dtype, device=luma.device)
    tint = tint.reshape(3, *[1] * (luma.ndim - 1)).expand(3, *luma.shape[1:])
    return merge_chroma(luma, tint, strength=strength, dim=0)


class ColorizeFusiond(MapTransform):  # type: ignore[misc]
    """Add the fusion in color, where the modality has one.

    Args:
        modality: of `moving`: "CT", "PET" or "SPECT"; or the records of several moving volumes,
            whose keys take the place of `moving_key` and `source_key`, see
            `monai_ddfm.transforms.tracers`.
        luminance_key: fused luminance [1, H, W(, D)] in [0, 1].
        moving_key: `moving` as the network saw it, [1, H, W(, D)] in [-1, 1], on the same grid.
        source_key: `moving` in original units on the same grid: HU for the tint of bone, or a
            volume in color [3, H, W(, D)], whose chroma is then taken; may be absent for scalar
            PET and SPECT.
        output_key: where RGB [3, H, W(, D)] in [0, 1] goes; not written for CT without tint.
        color_table: for scalar PET and SPECT, see `monai_ddfm.utils.color.COLOR_TABLES`.
        color_style: a name in `monai_ddfm.visualize.color_styles.COLOR_STYLES`, for PET and SPECT;
            "ycbcr" needs no `fixed_key`.
        fixed_key: for the styles "mixed" and "overlay", a volume whose first channel is the MRI as
            the network saw it, in [-1, 1] on the same grid.
        fade: brightness of `moving` below which its chroma fades, see `ColorStyle`.
        bone_tint: whether bone is tinted; for CT only.
        bone_threshold: HU at which half of the tint is reached.

    Raises:
        InputError: if the modality, the table or the style is unknown, the fade is not in [0, 1],
            or bone is to be tinted in anything but a CT.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(
        self,
        modality: str | Modality | Sequence[Source],
        *,
        luminance_key: str = "fused",
        moving_key: str = "moving_scaled",
        source_key: str = "moving",
        output_key: str = "fused_rgb",
        color_table: str = DEFAULT_TABLE,
        color_style: str = "ycbcr",
        fixed_key: str = "image",
        fade: float = 0.1,
        bone_tint: bool = False,
        bone_threshold: float = 300.0,
    ) -> None:
        super().__init__(luminance_key)
        sources = as_sources(modality)
        self.modality = sources[0].modality
        self.tracers = Tracers(sources, color_table) if len(sources) > 1 else None
        if bone_tint and self.modality is not Modality.CT:
            raise InputError(f"the tint of bone needs HU; leave it out for {self.modality}.")
        self.luminance_key, self.moving_key = luminance_key, moving_key
        self.source_key, self.output_key = source_key, output_key
        self.color_table = color_table
        self.pseudo_color = PseudoColor(color_table)
        self.style = ColorStyle(name=color_style, fade=fade)
        self.fixed_key = fixed_key
        self.bone_tint, self.bone_threshold = bone_tint, bone_threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the volume in color.

        Args:
            data: a case with the volumes under the keys named above.

        Returns:
            The case with `output_key`, which has the metadata of the luminance and the report
            "color".

        Raises:
            InputError: if bone is to be tinted and the CT is in color.
            KeyError: if a volume that is needed is absent.
        """
        case = dict(data)
        if self.tracers is not None:
            if not self.tracers.colored:
                return case
            result, report = self._several(case, self.tracers)
        elif not (self.modality.has_color or self.bone_tint):
            return case
        elif self.modality is Modality.CT:
            result, report = self._tinted(case)
        elif (found := self._in_color(case)) is not None:
            white = white_level(found.as_tensor())
            gray = self._gray(case)
            result = _by_slabs(
                case[self.luminance_key],
                lambda luma, part: self.style.join(
                    gray(luma, part, None), unit_rgb(found[:, part], white=white)
                ),
            )
            report = {"chroma": "of the volume in color", **self.style.described()}
        else:
            result, report = self._pseudo_colored(case)
        add_report(result, "color", report)
        case[self.output_key] = result
        return case

    def _in_color(self, case: Mapping[Hashable, Any]) -> MetaTensor | None:
        """Return `moving` in color, if there is such a volume."""
        for key in (self.source_key, self.moving_key):
            if key in case and len(case[key]) == 3:
                return convert_to_tensor(case[key], dtype=torch.float32, track_meta=True)
        return None

    def _pseudo_colored(self, case: Mapping[Hashable, Any]) -> tuple[MetaTensor, dict[str, Any]]:
        """Return the fusion with the color of the pseudo-colored scalar."""
        scalar = convert_to_tensor(case[self.moving_key], track_meta=False)
        gray = self._gray(case)

        def colored(luma: torch.Tensor, part: slice) -> torch.Tensor:
            uptake = ((scalar[:, part] + 1) / 2).to(luma)
            color = self.pseudo_color(scalar[:, part]).as_tensor()
            return self.style.join(gray(luma, part, None), color, uptake.clamp(0, 1))

        result = _by_slabs(case[self.luminance_key], colored)
        about = {"chroma": "of the color table", "color_table": self.color_table}
        return result, about | self.style.described()

    def _several(
        self, case: Mapping[Hashable, Any], tracers: Tracers
    ) -> tuple[MetaTensor, dict[str, Any]]:
        """Return the fusion with the color of several moving volumes."""
        gray, picture = self._gray(case), tracers.picture(case)

        def colored(luma: torch.Tensor, part: slice) -> torch.Tensor:
            shown = picture(part)
            color, bone = shown.color.to(luma), shown.bone
            if shown.white is not None and self.style.name == "overlay":
                color = torch.maximum(color, shown.white.to(luma))
            bone = None if bone is None else bone.to(luma)
            mixed = gray(luma, part, bone)
            return self.style.join(mixed, color, shown.uptake.to(luma), bone=bone)

        result = _by_slabs(case[self.luminance_key], colored)
        return result, tracers.described(case) | self.style.described()

    def _gray(self, case: Mapping[Hashable, Any]) -> _Gray:
        """Return what gives the gray levels of a part: fused luminance and MRI."""
        if self.style.fixed_share == 0:
            return lambda luma, *_: luma
        fixed = convert_to_tensor(case[self.fixed_key], track_meta=False)

        def mixed(luma: torch.Tensor, part: slice, bone: torch.Tensor | None) -> torch.Tensor:
            own = ((fixed[:1, part] + 1) / 2).to(luma)
            return torch.lerp(luma, own, self.style.share_in(bone))

        return mixed

    def _tinted(self, case: Mapping[Hashable, Any]) -> tuple[MetaTensor, dict[str, Any]]:
        """Return the fusion with its bone tinted."""
        hounsfield = case[self.source_key]
        if len(hounsfield) != 1:
            raise InputError("the tint of bone needs a CT in HU, not one in color; leave it out.")
        plain = convert_to_tensor(hounsfield, track_meta=False)

        def tinted(luma: torch.Tensor, part: slice) -> torch.Tensor:
            return tint_bone(luma, plain[:, part].to(luma), threshold=self.bone_threshold)

        result = _by_slabs(case[self.luminance_key], tinted)
        about = {"chroma": "bone", "bone_threshold_hu": self.bone_threshold}
        return result, about | {"luminance": "fused"}


def _by_slabs(
    luminance: torch.Tensor, color: Callable[[torch.Tensor, slice], torch.Tensor]
) -> MetaTensor:
    """Color a luminance a few rows at a time, because a volume in color is large.

    Args:
        luminance: [1, H, W(, D)].
        color: RGB of a part of the luminance, given that part and its rows.

    Returns:
        RGB [3, H, W(, D)] with the metadata of the luminance.
    """
    source = convert_to_tensor(luminance, dtype=torch.float32, track_meta=True)
    plain = source.as_tensor()
    rgb = plain.new_empty((3, *plain.shape[1:]))
    for part in slabs(plain.shape[1:]):
        rgb[:, part] = convert_to_tensor(color(plain[:, part], part), track_meta=False)
    return MetaTensor(
        rgb, meta=dict(source.meta), applied_operations=list(source.applied_operations)
    )


ColorizeFusionD = ColorizeFusionDict = ColorizeFusiond
