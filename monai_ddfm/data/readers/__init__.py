"""Readers: from disk to one checked volume in its own units, or to a picture in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.utils.lazy import lazily

if TYPE_CHECKING:
    from monai_ddfm.data.readers.pictures import (
        PICTURE_SUFFIXES,
        read_noted_picture,
        read_picture,
    )
    from monai_ddfm.data.readers.reading import read_volume
    from monai_ddfm.data.readers.volume import Volume

__all__ = ["PICTURE_SUFFIXES", "Volume", "read_noted_picture", "read_picture", "read_volume"]

# A process that only decodes frames is started for each compressed series.
__getattr__ = lazily(
    __name__,
    {
        "pictures": ("PICTURE_SUFFIXES", "read_noted_picture", "read_picture"),
        "reading": ("read_volume",),
        "volume": ("Volume",),
    },
)
