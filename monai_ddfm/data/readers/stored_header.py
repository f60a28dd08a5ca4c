"""What the header of a volume claims, whichever the format."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_ddfm.data.readers.claims import DEFLATE, check_against_file, check_against_memory
from monai_ddfm.data.readers.packed import check_packed
from monai_ddfm.errors import InputError

__all__ = ["StoredHeader", "damaged", "whole_field"]


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


def whole_field(
    path: Path, fields: Mapping[str, str], name: str, default: int | None = None
) -> int:
    """Return a field of a header as a whole number.

    Args:
        path: the file.
        fields: of its header.
        name: of the field.
        default: the number where the field is missing; None does not allow that.

    Raises:
        InputError: it is missing, or no such number.
    """
    text = fields.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"[-+]?\d{1,18}", text):
        raise damaged(path, f"{name} is missing or no number")
    return int(text)


def damaged(path: Path, why: str) -> InputError:
    """Return the refusal of a file whose header cannot be."""
    return InputError(
        f"{path} is not a readable image (in its header, {why}); export or fetch the file again."
    )
