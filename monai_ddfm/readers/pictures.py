"""Pictures (PNG, JPEG, TIFF) as arrays of gray levels or colors in [0, 1].

Black is 0 and white is 1 whatever the depth of the file: 1, 8 or 16 bits. A picture in color whose
three channels are equal everywhere is gray. Transparency is dropped, and the orientation that a
camera has noted is applied.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from monai_ddfm.errors import InputError
from monai_ddfm.readers.claims import check_against_memory

__all__ = ["PICTURE_SUFFIXES", "Picture", "read_picture"]

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Names of files that `read_picture` takes, in small letters."""

_SIXTEEN_BITS: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_GRAY: Final = ("1", "L", "LA", "La")


class Picture(NamedTuple):
    """What a file holds.

    Attributes:
        levels: [1, H, W] for a gray picture, [3, H, W] (RGB) for one in color, float32 in [0, 1].
        bits: of each value in the file, 8 or 16.
    """

    levels: NDArray[np.float32]
    bits: int


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
    place = Path(path).expanduser()
    if not place.is_file():
        raise InputError(f"{place} is not a file; give a picture (PNG, JPEG or TIFF).")
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures so large that reading them may be an attack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(place) as opened:
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


def _levels(opened: Image.Image, place: Path) -> Picture:
    if (frames := getattr(opened, "n_frames", 1)) > 1:
        raise InputError(
            f"{place} holds {frames} pictures; give one, or a volume to `monai-ddfm fuse`."
        )
    # Beside the decoded picture: its values as the widest type on the way, and the result.
    width, height = opened.size
    bands = len(opened.getbands())
    check_against_memory(
        place, voxels=width * height, stored=4 * width * height, beside=20 * bands, what="pixels"
    )
    picture = ImageOps.exif_transpose(opened)
    if picture.mode in _SIXTEEN_BITS:
        values = np.asarray(picture, dtype=np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{place} has more than 16 bits per value; save it with 8 or 16.")
        return Picture((values[None] / 65535).astype(np.float32), 16)
    if picture.mode == "F":
        raise InputError(f"{place} has floating-point values; save it with 8 or 16 bits.")
    if picture.mode in _GRAY:
        gray = np.asarray(picture.convert("L"), dtype=np.float32)[None] / np.float32(255)
        return Picture(gray, 8)
    rgb = np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
    if bool((rgb == rgb[..., :1]).all()):
        rgb = rgb[..., :1]
    return Picture(np.ascontiguousarray(np.moveaxis(rgb, -1, 0)), 8)
