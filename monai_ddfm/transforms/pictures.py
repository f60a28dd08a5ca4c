"""Transforms for pairs of pictures: load, join the luminances, give the result its color.

A picture has no units and no grid of its own: its gray levels are taken as they are, and both
pictures of a pair must show the same place, pixel by pixel.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_ddfm.data.readers import read_noted_picture
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import PictureModality
from monai_ddfm.utils.color import luminance
from monai_ddfm.utils.reports import add_report
from monai_ddfm.visualize.color_styles import ColorStyle

__all__ = [
    "ColorizePictureD",
    "ColorizePictureDict",
    "ColorizePictured",
    "JoinLuminanceD",
    "JoinLuminanceDict",
    "JoinLuminanced",
    "LoadPicture",
    "LoadPictureD",
    "LoadPictureDict",
    "LoadPictured",
    "color_source",
    "picture_luminance",
]


class LoadPicture(Transform):  # type: ignore[misc]
    """Load a picture, see `monai_ddfm.data.readers.read_picture`."""

    def __call__(self, data: str | os.PathLike[str]) -> MetaTensor:
        """Load one picture.

        Args:
            data: a PNG, JPEG or TIFF file.

        Returns:
            [1, H, W] or, in color, [3, H, W] in [0, 1], with ``filename_or_obj`` and ``bits`` in
            its metadata, and the report ``"reading"``.

        Raises:
            InputError: if the file cannot be used.
        """
        (levels, bits), notes = read_noted_picture(data)
        loaded = MetaTensor(
            torch.from_numpy(levels), meta={"filename_or_obj": str(data), "bits": bits}
        )
        add_report(loaded, "reading", {"path": str(data), "bits": bits, "notes": list(notes)})
        return loaded


class LoadPictured(MapTransform):  # type: ignore[misc]
    """Dictionary form of `LoadPicture`.

    Args:
        keys: the items that hold paths.
        allow_missing_keys: whether a case may lack some of the keys.
    """

    def __init__(
        self, keys: KeysCollection = ("fixed", "moving"), *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadPicture()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the pictures under the keys."""
        return dict(data) | {key: self.load(data[key]) for key in self.key_iterator(data)}


class JoinLuminanced(Transform):  # type: ignore[misc]
    """Put the luminances of two pictures into one image that the inferer takes.

    Args:
        fixed_key: [1 or 3, H, W] in [0, 1].
        moving_key: the same size.
        output_key: where [2, H, W] in [-1, 1] goes.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(
        self, fixed_key: str = "fixed", moving_key: str = "moving", *, output_key: str = "image"
    ) -> None:
        self.fixed_key, self.moving_key, self.output_key = fixed_key, moving_key, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Join.

        Args:
            data: a case with both pictures.

        Returns:
            The case with `output_key`, which has the metadata of the fixed picture.

        Raises:
            InputError: if the pictures are of different size, or both are constant.
        """
        fixed, moving = data[self.fixed_key], data[self.moving_key]
        names = [str(p.meta.get("filename_or_obj", "a picture")) for p in (fixed, moving)]
        sizes = [f"{p.shape[-1]} x {p.shape[-2]}" for p in (fixed, moving)]
        if fixed.shape[-2:] != moving.shape[-2:]:
            raise InputError(
                f"{names[0]} has {sizes[0]} pixels and {names[1]} has {sizes[1]}; give two "
                "pictures of the same place and size."
            )
        both = torch.cat([picture_luminance(fixed), picture_luminance(moving)])
        if bool((both.flatten(1).amax(1) == both.flatten(1).amin(1)).all()):
            raise InputError(f"{names[0]} and {names[1]} are both constant; give other pictures.")
        return {**data, self.output_key: MetaTensor(both * 2 - 1, meta=dict(fixed.meta))}


class ColorizePictured(Transform):  # type: ignore[misc]
    """Give the fusion the color of the picture that is in color, if one is.

    Where both are, the visible image keeps its colors beside an infrared one, and the functional
    one beside an MRI. Visible colors always join in the style "ycbcr", whose luminance is the fused
    luminance.

    Args:
        modality: of the moving picture: "CT", "PET", "SPECT" or "IR".
        luminance_key: fused luminance [1, H, W] in [0, 1].
        fixed_key: [1 or 3, H, W] in [0, 1].
        moving_key: the same size.
        output_key: where RGB [3, H, W] in [0, 1] goes; not written if both pictures are gray.
        color_style: a name in `monai_ddfm.visualize.color_styles.COLOR_STYLES`, for PET and SPECT.
        fade: brightness below which the chroma of PET and SPECT fades, see `ColorStyle`; a
            visible image keeps its colors in the dark as well.

    Raises:
        InputError: if the modality or the style is unknown or the fade is not in [0, 1].
    """

    backend = JoinLuminanced.backend

    def __init__(
        self,
        modality: str | PictureModality,
        *,
        luminance_key: str = "fused",
        fixed_key: str = "fixed",
        moving_key: str = "moving",
        output_key: str = "fused_rgb",
        color_style: str = "ycbcr",
        fade: float = 0.1,
    ) -> None:
        self.modality = PictureModality.parse(modality)
        self.luminance_key, self.output_key = luminance_key, output_key
        self.keys = (fixed_key, moving_key)
        functional = ColorStyle(name=color_style, fade=fade)
        visible = ColorStyle(name="ycbcr", fade=0.0)
        self.style = functional if _is_functional(self.modality) else visible

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the result in color.

        Args:
            data: a case with the pictures and the fused luminance.

        Returns:
            The case, with `output_key` if one of the pictures is in color.
        """
        key = color_source(data, modality=self.modality, keys=self.keys)
        if key is None:
            return dict(data)
        luma = convert_to_tensor(data[self.luminance_key], track_meta=True).float()
        plain = luma.as_tensor()
        gray = plain
        if self.style.fixed_share:
            fixed = picture_luminance(data[self.keys[0]]).to(plain)
            gray = torch.lerp(plain, fixed, self.style.fixed_share)
        color = convert_to_tensor(data[key], track_meta=False).to(plain)
        result = MetaTensor(self.style.join(gray, color), meta=dict(luma.meta))
        source = "fixed" if key == self.keys[0] else "moving"
        about = {"chroma": f"of the {source} picture", **self.style.described()}
        add_report(result, "color", about)
        return {**data, self.output_key: result}


def color_source(
    data: Mapping[Any, Any],
    *,
    modality: str | PictureModality,
    keys: tuple[str, str] = ("fixed", "moving"),
) -> str | None:
    """Return the key of the picture that gives the result its color; None if both are gray.

    Args:
        data: a case with both pictures, [1 or 3, ...].
        modality: of the moving picture.
        keys: of the fixed and of the moving picture.
    """
    order = keys[::-1] if _is_functional(PictureModality.parse(modality)) else keys
    return next((key for key in order if len(data[key]) == 3), None)


LoadPictureD = LoadPictureDict = LoadPictured
JoinLuminanceD = JoinLuminanceDict = JoinLuminanced
ColorizePictureD = ColorizePictureDict = ColorizePictured


def _is_functional(modality: PictureModality) -> bool:
    return modality in (PictureModality.PET, PictureModality.SPECT)


def picture_luminance(picture: torch.Tensor) -> torch.Tensor:
    """Return the luminance [1, H, W] of a picture [1 or 3, H, W] as a plain float32 tensor."""
    plain: torch.Tensor = convert_to_tensor(picture, track_meta=False).float()
    return luminance(plain, dim=0) if len(plain) == 3 else plain
