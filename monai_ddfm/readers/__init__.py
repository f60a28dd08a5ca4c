"""Readers: from a file or a folder on disk to one checked volume in its own units."""

from monai_ddfm.readers.reading import read_volume
from monai_ddfm.readers.volume import Volume

__all__ = ["Volume", "read_volume"]
