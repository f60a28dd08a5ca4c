"""What the header of a volume claims, whichever the format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from monai_ddfm.data.readers.claims import DEFLATE, check_against_file, check_against_memory
from monai_ddfm.data.readers.packed import check_packed

__all__ = ["StoredHeader"]


@dataclass(frozen=True)
class StoredHeader:
    """What a header claims and what there is for it.

    Attributes:
        path: the file.
        sizes: along the axes of the file, those of values per voxel among them.
        claimed: bytes of voxels.
        data: the file in which they are.
        begin: where they begin in it.
        there: bytes of data that follow.
        ratio: the best ratio of their compression.
        library: what ITK calls the part that reads such files.
    """

    path: Path
    sizes: tuple[int, ...]
    claimed: int
    data: Path
    begin: int
    there: int
    ratio: float
    library: str

    def check(self) -> None:
        """Judge the claim before anything is allocated for it.

        Raises:
            InputError: the file cannot hold it, or the memory cannot.
        """
        check_against_file(self.path, claimed=self.claimed, there=self.there, ratio=self.ratio)
        voxels = math.prod(self.sizes)
        check_against_memory(self.path, voxels=voxels, stored=self.claimed)

    def check_whole(self) -> None:
        """Compare what is compressed with its checksum.

        Raises:
            InputError: it is damaged.
        """
        if self.ratio == DEFLATE:
            check_packed(self.path, self.data, begin=self.begin, claimed=self.claimed)
