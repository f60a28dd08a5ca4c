"""What the header of a NIfTI or MGH file claims, judged before it is read any further."""

from __future__ import annotations

import gzip
import math
import stat
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from monai_ddfm.data.readers.claims import DEFLATE, check_against_file, check_against_memory
from monai_ddfm.data.readers.packed import check_packed
from monai_ddfm.errors import InputError

__all__ = ["check_nifti_claim", "check_nifti_start", "check_nifti_whole"]

_HEAD = 352
_SIZES = {348: "<", 540: "<", 0x5C010000: ">", 0x1C020000: ">"}
"""Size of the header as its first four bytes say it, read as a little-endian number."""
_MOST_BEFORE = 256 * 2**20
_PACKED = (".gz", ".mgz")


def check_nifti_start(path: Path) -> None:
    """Refuse a header whose extensions claim more than a header can have.

    Extensions lie between the header and the voxels, and are read with the header.

    Args:
        path: the file; what is no NIfTI is left for others to judge.

    Raises:
        InputError: the voxels cannot begin where the header says.
    """
    try:
        with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as stream:
            head = stream.read(_HEAD)
    except (OSError, EOFError, zlib.error, ValueError):
        return  # nibabel says what is wrong
    order = _SIZES.get(int.from_bytes(head[:4], "little"))
    if len(head) < _HEAD or order is None:
        return
    new = head[4:7] in (b"n+2", b"ni2")
    begin = struct.unpack_from(f"{order}{'q' if new else 'f'}", head, 168 if new else 108)[0]
    if not math.isfinite(begin) or begin > _MOST_BEFORE:
        raise InputError(
            f"{path} is not a readable NIfTI image (its voxels would begin at byte {begin:.4g}); "
            "export or fetch the file again."
        )


def check_nifti_claim(
    image: Any, shape: tuple[int, ...], path: Path, *, in_color: bool = False
) -> None:
    """Judge the size of a volume whose header nibabel has read.

    Args:
        image: as nibabel has loaded it; no voxel has been read.
        shape: its size.
        path: the file, for messages.
        in_color: whether the last axis is known to hold colors, which are read at once.

    Raises:
        InputError: the file cannot hold so much, or the memory cannot.
    """
    item = int(image.get_data_dtype().itemsize)
    claimed = math.prod(shape) * item
    data, begin = _place(image)
    about = data.stat()
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path} keeps its voxels in {data.name}, which is no ordinary file.")
    packed = data.name.lower().endswith(_PACKED)
    there = about.st_size - (0 if packed else begin)
    check_against_file(path, claimed=claimed, there=max(0, there), ratio=DEFLATE if packed else 1.0)
    if packed:  # time frames are found by unpacking all before them
        check_against_memory(path, voxels=0, stored=claimed)
    at_once = math.prod(shape if in_color or _has_colors(shape, item) else shape[:3])
    check_against_memory(path, voxels=at_once, stored=at_once * item)


def check_nifti_whole(image: Any, shape: tuple[int, ...], path: Path) -> None:
    """Compare what is compressed with its checksum.

    Args:
        image: as nibabel has loaded it, its claim judged.
        shape: its size.
        path: the file, for messages.

    Raises:
        InputError: it is damaged.
    """
    data, begin = _place(image)
    if data.name.lower().endswith(_PACKED):
        claimed = math.prod(shape) * int(image.get_data_dtype().itemsize)
        check_packed(path, data, claimed=begin + claimed)


def _place(image: Any) -> tuple[Path, int]:
    """Return the file of the voxels and where they begin in it."""
    begin = 0
    with suppress(AttributeError, TypeError, ValueError, OverflowError):
        begin = max(0, int(image.dataobj.offset))
    return Path(image.file_map["image"].filename), begin


def _has_colors(shape: tuple[int, ...], item: int) -> bool:
    return len(shape) == 5 or (len(shape) == 4 and shape[3] in (3, 4) and item == 1)
