"""Headers of NRRD files, checked before a library sees them.

A header is a magic line, lines of ``field: value``, ``key:=value`` and ``# comment``, and an empty
line, after which the data begin. The field ``data file`` names other files instead.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from monai_ddfm.data.readers.claims import BZIP2, DEFLATE
from monai_ddfm.data.readers.data_files import beside
from monai_ddfm.data.readers.stored_header import StoredHeader, damaged, whole_field

__all__ = ["read_nrrd_header"]

_LONGEST_HEADER = 2**20
_MOST_AXES = 16
_FIELDS = (
    "content, number, type, blocksize, dimension, space, spacedimension, sizes, spacings, "
    "thicknesses, axismins, axismaxs, spacedirections, centers, centerings, kinds, labels, "
    "units, min, max, oldmin, oldmax, endian, encoding, lineskip, byteskip, sampleunits, "
    "spaceunits, spaceorigin, measurementframe, datafile"
)
_ONE_BYTE = "signed char, int8, int8_t, uchar, unsigned char, uint8, uint8_t"
_TWO_BYTES = (
    "short, short int, signed short, signed short int, int16, int16_t, ushort, unsigned short, "
    "unsigned short int, uint16, uint16_t"
)
_FOUR_BYTES = "int, signed int, int32, int32_t, uint, unsigned int, uint32, uint32_t, float"
_EIGHT_BYTES = (
    "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t, "
    "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t, double"
)
_BYTES = {
    name: size
    for names, size in ((_ONE_BYTE, 1), (_TWO_BYTES, 2), (_FOUR_BYTES, 4), (_EIGHT_BYTES, 8))
    for name in names.split(", ")
}
_RATIOS = {
    "raw": 1.0,
    "hex": 0.5,
    "gzip": DEFLATE,
    "gz": DEFLATE,
    "bzip2": BZIP2,
    "bz2": BZIP2,
}
_TEXT = ("text", "txt", "ascii")
_PER_AXIS = ("spacings", "thicknesses", "axismins", "axismaxs", "kinds", "centers", "centerings")


def read_nrrd_header(path: Path, *, alone: bool = False) -> StoredHeader:
    """Read and check the header of an NRRD file.

    Args:
        path: the file.
        alone: whether the voxels must be in the same file.

    Returns:
        What it claims.

    Raises:
        InputError: it is no such header, contradicts itself, or names a file that it must not.
    """
    fields, end = _fields(path)
    rank = whole_field(path, fields, "dimension")
    if not 1 <= rank <= _MOST_AXES:
        raise damaged(path, f"its dimension is {rank}")
    sizes = fields.get("sizes", "").split()
    if len(sizes) != rank or not all(re.fullmatch(r"\d{1,18}", n) for n in sizes):
        raise damaged(path, f"sizes is not {rank} whole numbers")
    for name in _PER_AXIS:
        if name in fields and len(fields[name].split()) != rank:
            raise damaged(path, f"{name} has not one entry for each of {rank} axes")
    kind, encoding = fields.get("type", "").lower(), fields.get("encoding", "").lower()
    if kind not in _BYTES:
        raise damaged(path, f"voxels of type {kind[:40]!r} are not known")
    if encoding not in (*_RATIOS, *_TEXT):
        raise damaged(path, f"the encoding {encoding[:40]!r} is not known")
    item = _BYTES[kind]
    shape = tuple(map(int, sizes))
    packed = encoding not in ("raw", "hex", *_TEXT)
    data, begin = _place(path, fields, end, alone=alone, packed=packed)
    ratio = item / 2 + 1 if encoding in _TEXT else _RATIOS[encoding]
    there = max(0, data.stat().st_size - begin)
    claimed = math.prod(shape) * item
    return StoredHeader(path, shape, claimed, data, begin, there, ratio, "NrrdImageIO")


def _place(
    path: Path, fields: dict[str, str], end: int, *, alone: bool, packed: bool
) -> tuple[Path, int]:
    """Return the file of the data and where they begin in it."""
    lines, skipped = (whole_field(path, fields, name, 0) for name in ("lineskip", "byteskip"))
    if lines < 0 or skipped < -1:
        raise damaged(path, "line skip or byte skip is negative")
    if "datafile" in fields:
        name = os.fsdecode(fields["datafile"].encode("latin-1"))
        data, begin = beside(path, name, alone=alone), 0
    elif path.suffix.lower() == ".nhdr":
        raise damaged(path, "the field data file is missing")
    else:
        data, begin = path, end
    if not packed:
        return data, begin + max(0, skipped)
    # Of compressed data, bytes are skipped after they are unpacked, lines before.
    with data.open("rb") as file:
        file.seek(begin)
        while lines > 0 and file.readline(_LONGEST_HEADER):
            lines -= 1
        return data, file.tell()


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields, their names without blanks and in small letters, and where data begin."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_HEADER)
        whole = len(content) == path.stat().st_size
    fields: dict[str, str] = {}
    begin, first = 0, True
    while begin < len(content):
        end = content.find(b"\n", begin)
        if end < 0 and not whole:
            break
        raw = content[begin:] if end < 0 else content[begin:end]
        begin = len(content) if end < 0 else end + 1
        line = raw.removesuffix(b"\r").decode("latin-1")
        if "\0" in line or "\r" in line:
            raise damaged(path, "a line holds characters that are no text")
        if first:
            if not re.fullmatch(r"NRRD\d{4}", line):
                raise damaged(path, "the first line is not that of an NRRD file")
            first = False
        elif not line.strip():
            return fields, begin
        elif not line.startswith("#"):
            _take(path, line, fields)
    if first or not whole or "datafile" not in fields:
        raise damaged(path, "the empty line at its end is missing")
    return fields, begin  # a header of a file of its own may end with its last line


def _take(path: Path, line: str, fields: dict[str, str]) -> None:
    name, colon, value = line.partition(":")
    if colon and value.startswith("="):
        return
    plain = re.sub(r"\s", "", name).lower()
    if not colon or plain not in _FIELDS.split(", "):
        raise damaged(path, f"the field {name[:40]!r} is not known")
    if plain in fields:
        raise damaged(path, f"the field {name[:40]!r} stands there twice")
    fields[plain] = value.strip()
