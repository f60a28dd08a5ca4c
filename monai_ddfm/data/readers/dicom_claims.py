"""What DICOM files claim, judged before pixels are unpacked.

Three numbers may lie: rows, columns and frames of the header; the size that a compressed frame
itself begins with, which its decoder allocates; and a whole file that is deflated, of which a
kilobyte may stand for a megabyte.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.uid import UID

from monai_ddfm.data.readers.claims import DEFLATE, check_against_file, check_against_memory
from monai_ddfm.data.readers.tags import text, whole
from monai_ddfm.errors import InputError
from monai_ddfm.utils.memory import available_memory

__all__ = ["check_deflated", "check_frame_sizes", "check_series_claim"]

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEAD = 132
_META, _SYNTAX = b"\x02\0", b"\x02\0\x10\0"
_SHORT = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
_LONG = b"OB OD OF OL OV OW SV UC UN UR UT UV".split()  # sequences are not read here
_UNDEFINED = 2**32 - 1
_BLOCK = 2**20
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SEARCHED = 4096
_LEAST_OF_FRAME = 10  # a tag, a length, and two bytes


def check_deflated(path: Path) -> None:
    """Refuse a deflated file that unpacks to more than there is memory for.

    Args:
        path: the file; what is not deflated is not looked at.

    Raises:
        InputError: it unpacks to too much.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begin = _HEAD if file.read(_HEAD)[128:] == b"DICM" else 0  # some have no preamble
        file.seek(begin)
        if not begin and file.read(2) != _META:
            return
        file.seek(begin)
        syntax, whole_meta = _transfer_syntax(file)
        if not whole_meta:  # whoever reads the file may see something else in it
            place = file.seek(begin)
            syntax = file.read()
            file.seek(place)
        if _DEFLATED not in syntax:
            return
        most = available_memory() // 2
        rest = _unpacked_size(file.read(), most) if whole_meta else path.stat().st_size * DEFLATE
    if rest > most:
        raise InputError(
            f"{path} unpacks to more than {most // 2**20} MiB, for which there is no memory; "
            "check the file or give it to a larger machine."
        )


def _transfer_syntax(file: IO[bytes]) -> tuple[bytes, bool]:
    """Read the meta information, element by element up to where another group begins.

    Its stated length is not looked at: it may lie, and pydicom goes by the groups, too.

    Args:
        file: at the first element; then at what comes after the last.

    Returns:
        What stands for the transfer syntax, and whether all elements were plain.
    """
    syntax = b""
    while True:
        start = file.tell()
        head = file.read(8)
        if head[:2] != _META:
            file.seek(start)
            return syntax, True
        kind = head[4:6]
        if len(head) < 8 or (kind not in _SHORT and kind not in _LONG):
            return syntax, False
        if kind in _SHORT:
            length = struct.unpack_from("<H", head, 6)[0]
        else:
            told = file.read(4)
            length = struct.unpack("<I", told)[0] if len(told) == 4 else _UNDEFINED
        if length == _UNDEFINED:
            return syntax, False
        if head[:4] == _SYNTAX:
            syntax += file.read(length)
        else:
            file.seek(length, os.SEEK_CUR)


def _unpacked_size(packed: bytes, most: int) -> int:
    """Return how many bytes come out, or a number beyond `most`, without keeping them."""
    unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while packed and not unpacker.eof and size <= most:
            size += len(unpacker.decompress(packed, _BLOCK))
            packed = unpacker.unconsumed_tail
    except zlib.error:  # whoever reads the file says so
        return size
    return size


def check_series_claim(headers: Sequence[tuple[Path, Dataset]], path: Path) -> None:
    """Judge the size of a series by the headers of its files.

    Args:
        headers: file and header of each, without pixels.
        path: what the user gave, for messages.

    Raises:
        InputError: a file is too small for its claim, or the memory for the series.
    """
    total = 0
    for file, header in headers:
        rows, columns = whole(header, "Rows"), whole(header, "Columns")
        samples = max(1, whole(header, "SamplesPerPixel", 1))
        frames = max(1, whole(header, "NumberOfFrames", 1))
        bits = max(1, whole(header, "BitsAllocated", 16))
        if samples > 4 or bits > 64:
            raise InputError(
                f"{file} claims {samples} samples of {bits} bits per pixel, which cannot be; fetch "
                "the file again."
            )
        pixels = rows * columns * frames * samples
        total += pixels
        there = file.stat().st_size * (DEFLATE if _is_deflated(header) else 1)
        if _is_packed(header):
            check_against_file(file, claimed=frames * _LEAST_OF_FRAME, there=there)
        else:
            check_against_file(file, claimed=pixels * bits // 8, there=there)
    check_against_memory(path, voxels=total, stored=0, beside=4, what="pixels")


def _is_packed(header: Dataset) -> bool:
    syntax = UID(text(getattr(header, "file_meta", None), "TransferSyntaxUID"))
    if not syntax.is_transfer_syntax:
        return False
    return bool(syntax.is_encapsulated)


def _is_deflated(header: Dataset) -> bool:
    syntax = text(getattr(header, "file_meta", None), "TransferSyntaxUID")
    return syntax == _DEFLATED.decode("ascii")


def check_frame_sizes(dataset: Dataset, path: Path) -> None:
    """Refuse compressed frames that say themselves that they are larger than the header says.

    Args:
        dataset: an image with its pixels.
        path: its file, for messages.

    Raises:
        InputError: a frame is of another size.
    """
    syntax = UID(text(getattr(dataset, "file_meta", None), "TransferSyntaxUID"))
    if not syntax.is_transfer_syntax or not syntax.is_encapsulated or "PixelData" not in dataset:
        return
    wanted = whole(dataset, "Columns"), whole(dataset, "Rows")
    try:
        sizes = {size for part in generate_fragments(dataset.PixelData) if (size := _size(part))}
    except Exception:  # the decoder says what is wrong with the fragments
        return
    for width, height in sizes:
        if (width, height) != wanted:
            raise InputError(
                f"the pixels of {path} are {width} x {height} where its header says "
                f"{wanted[0]} x {wanted[1]}; fetch the file again."
            )


def _size(part: bytes) -> tuple[int, int] | None:
    """Return columns and rows that a JPEG or JPEG 2000 stream begins with."""
    start = part.find(_JPEG_2000, 0, _SEARCHED)
    if start >= 0 and len(part) >= start + 24:
        right, low, left, top = struct.unpack_from(">4I", part, start + 8)
        return right - left, low - top
    if not part.startswith(_JPEG):
        return None
    place = 2
    while place + 9 <= len(part):
        if part[place] != 0xFF:
            return None
        kind = part[place + 1]
        if kind == 0xFF or kind in _ALONE:
            place += 1 if kind == 0xFF else 2
        elif kind in _START_OF_FRAME:
            height, width = struct.unpack_from(">2H", part, place + 5)
            return width, height
        else:
            place += 2 + int(struct.unpack_from(">H", part, place + 2)[0])
    return None
