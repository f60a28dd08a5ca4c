"""Pictures (PNG, JPEG, TIFF) as arrays of gray levels or colors in [0, 1].

Black is 0 and white is 1 whatever the depth of the file: 1, 8 or 16 bits. A picture in color whose
three channels are equal everywhere is gray. What is transparent is laid on black, which is what
holds no signal in medical pictures, and noted; an opacity that is the same everywhere hides nothing
of one part from another and is left out. The orientation that a camera has noted is applied.

Pillow does not invert gray of 16 bits whose header calls zero white, and lays rows of turned TIFF
files that are not compressed wrongly; both is done here.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from monai_ddfm.data.readers.claims import check_against_memory
from monai_ddfm.errors import InputError

__all__ = ["PICTURE_SUFFIXES", "Picture", "Reading", "read_noted_picture", "read_picture"]

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_FORMATS: Final = ("PNG", "JPEG", "TIFF")
"""Names of files that `read_picture` takes, in small letters."""

_SIXTEEN_BITS: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_GRAY: Final = ("1", "L", "LA", "La")
_WITH_OPACITY: Final = ("LA", "La", "PA", "RGBA", "RGBa")
_PHOTOMETRIC: Final = 262
_LAID: Final = "what is transparent was laid on black"


class Picture(NamedTuple):
    """What a file holds.

    Attributes:
        levels: [1, H, W] for a gray picture, [3, H, W] (RGB) for one in color, float32 in [0, 1].
        bits: of each value in the file, 8 or 16.
    """

    levels: NDArray[np.float32]
    bits: int


class Reading(NamedTuple):
    """A picture and what is noted of its reading.

    Attributes:
        picture: what the file holds.
        notes: what had to be assumed, as clauses.
    """

    picture: Picture
    notes: tuple[str, ...]


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read one picture.

    Args:
        path: a PNG, JPEG or TIFF file; ``~`` is understood.

    Returns:
        Its values, and how many bits they had.

    Raises:
        InputError: if the file is missing, no picture, damaged, holds several pictures, or has
            values that have no white (floating point, 32 bits).
    """
    return read_noted_picture(path).picture


def read_noted_picture(path: str | os.PathLike[str]) -> Reading:
    """Read one picture, see `read_picture`, with what is noted of it."""
    place = Path(path).expanduser()
    if not place.is_file():
        raise InputError(f"{place} is not a file; give a picture (PNG, JPEG or TIFF).")
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures so large that reading them may be an attack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A stream keeps Pillow from mapping the file, which lays turned rows wrongly.
            # Of other kinds Pillow knows some that it gives to other programs: PostScript is run.
            with place.open("rb") as stream, Image.open(stream, formats=_FORMATS) as opened:
                return _levels(opened, place)
    except UnidentifiedImageError:
        raise InputError(f"{place} is not a picture known here; give PNG, JPEG or TIFF.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{place} has more than 89 million pixels; give a smaller one.") from None
    except Exception as error:  # what Pillow raises on a damaged file is not documented
        if isinstance(error, InputError | MemoryError):
            raise
        raise InputError(
            f"{place} is damaged or cut short ({error}); fetch the file again."
        ) from error


def _levels(opened: Image.Image, place: Path) -> Reading:
    if (frames := getattr(opened, "n_frames", 1)) > 1:
        raise InputError(
            f"{place} holds {frames} pictures; give one, or a volume to `monai-ddfm fuse`."
        )
    zero_is_white = _zero_is_white(opened)
    # Beside the decoded picture: its values as the widest type on the way, and the result.
    width, height = opened.size
    unfolded = opened.mode in ("P", "PA") or _is_see_through(opened)  # to more than its own bands
    bands = max(len(opened.getbands()), 2 if unfolded else 1)
    check_against_memory(
        place, voxels=width * height, stored=4 * width * height, beside=20 * bands, what="pixels"
    )
    picture = ImageOps.exif_transpose(opened)
    if picture.mode in _SIXTEEN_BITS:
        return _deep(picture, place, zero_is_white=zero_is_white)
    if picture.mode == "F":
        raise InputError(f"{place} has floating-point values; save it with 8 or 16 bits.")
    flat, notes = _on_black(picture)
    if picture.mode in _GRAY or bool((flat == flat[..., :1]).all()):
        flat = flat[..., :1]
    levels = np.ascontiguousarray(np.moveaxis(flat, -1, 0)) / np.float32(255)
    return Reading(Picture(levels, 8), notes)


def _deep(picture: Image.Image, place: Path, *, zero_is_white: bool) -> Reading:
    """Read gray levels of 16 bits."""
    values = np.asarray(picture, dtype=np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{place} has more than 16 bits per value; save it with 8 or 16.")
    if zero_is_white:
        values = 65535 - values
    notes: tuple[str, ...] = ()
    hidden = picture.info.get("transparency")
    if isinstance(hidden, int) and (values == hidden).any():
        values = np.where(values == hidden, 0, values)
        notes = (_LAID,)
    return Reading(Picture((values[None] / 65535).astype(np.float32), 16), notes)


def _zero_is_white(opened: Image.Image) -> bool:
    tags = getattr(opened, "tag_v2", None) or {}
    return tags.get(_PHOTOMETRIC) == 0


def _is_see_through(picture: Image.Image) -> bool:
    return "transparency" in picture.info or picture.mode in _WITH_OPACITY


def _on_black(picture: Image.Image) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return [H, W, 3] in 0..255 with what is transparent laid on black."""
    if not _is_see_through(picture):
        return np.asarray(picture.convert("RGB"), dtype=np.float32), ()
    rgba = np.asarray(picture.convert("RGBA"), dtype=np.float32)
    rgb, opacity = rgba[..., :3], rgba[..., 3:]
    if opacity.min() == opacity.max():
        even = f"an opacity of {float(opacity.max()) / 255:.0%} everywhere was left out"
        return rgb, () if opacity.max() == 255 else (even,)
    return rgb * (opacity / np.float32(255)), (_LAID,)
