"""Headers of MetaImage files (MHA, MHD), checked before a library sees them.

The library crashes on some headers that lie (a negative number of dimensions), reads past the end
of a line when a list has too few numbers, and opens whatever file a header names. Here a header is
read line by line; what is let through means the same to both.

A header is lines of ``Key = Value``; ``:`` separates as well. It ends with the line
``ElementDataFile``, whose value is ``LOCAL`` or the name of another file.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from monai_ddfm.data.readers.claims import DEFLATE
from monai_ddfm.data.readers.data_files import beside
from monai_ddfm.data.readers.stored_header import StoredHeader, damaged, whole_field

__all__ = ["read_metaimage_header"]

_LONGEST_HEADER = 65_536
_LONGEST_LINE = 500
_MOST_CHANNELS = 64
_BYTES = {
    "CHAR": 1,
    "UCHAR": 1,
    "SHORT": 2,
    "USHORT": 2,
    "INT": 4,
    "UINT": 4,
    "LONG": 4,
    "ULONG": 4,
    "LONG_LONG": 8,
    "ULONG_LONG": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
}
_TRUTHS = ("CompressedData", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_PER_AXIS = (
    "Offset",
    "Origin",
    "Position",
    "CenterOfRotation",
    "ElementSpacing",
    "ElementSize",
    "DimSize",
)
_PER_PAIR = ("TransformMatrix", "Rotation", "Orientation")
_WHOLE = ("HeaderSize", "CompressedDataSize", "ID", "ParentID", "CompressionLevel")
_NUMBER = (
    "ElementMin",
    "ElementMax",
    "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset",
)
_OTHERS = ("NDims", "ElementType", "ElementNumberOfChannels", "ObjectType", "Color", "SequenceID")
_END = "ElementDataFile"
_KNOWN = {
    name.casefold(): name
    for name in (*_TRUTHS, *_PER_AXIS, *_PER_PAIR, *_WHOLE, *_NUMBER, *_OTHERS, _END)
}


@dataclass(frozen=True)
class _Lines:
    """The fields of a header, and where what follows begins."""

    fields: dict[str, str]
    end: int


def read_metaimage_header(path: Path, *, alone: bool = False) -> StoredHeader:
    """Read and check the header of a MetaImage file.

    Args:
        path: the file.
        alone: whether the voxels must be in the same file.

    Returns:
        What it claims.

    Raises:
        InputError: it is no such header, contradicts itself, or names a file that it must not.
    """
    read = _lines(path)
    fields = read.fields
    rank = whole_field(path, fields, "NDims")
    if not 1 <= rank <= 10:
        raise damaged(path, f"NDims is {rank}")
    for name in _PER_AXIS:
        _numbers(path, fields, name, rank)
    for name in _PER_PAIR:
        _numbers(path, fields, name, rank * rank)
    for name in _NUMBER:
        _numbers(path, fields, name, 1)
    for name in set(_WHOLE) & set(fields):
        whole_field(path, fields, name)
    for name in set(_TRUTHS) & set(fields):
        if not re.fullmatch(r"(?i)true|false|t|f|1|0|yes|no", fields[name]):
            raise damaged(path, f"{name} is {fields[name][:40]!r}")
    sizes = tuple(int(n) for n in _numbers(path, fields, "DimSize", rank))
    channels = whole_field(path, fields, "ElementNumberOfChannels", 1)
    if not 1 <= channels <= _MOST_CHANNELS:
        raise damaged(path, f"it has {channels} values per voxel")
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in _BYTES or len(sizes) != rank or min(sizes) < 0:
        raise damaged(path, "its sizes or the type of its voxels are missing or cannot be")
    return _claim(path, read, sizes, channels * _BYTES[kind], alone=alone)


def _claim(
    path: Path, read: _Lines, sizes: tuple[int, ...], item: int, *, alone: bool
) -> StoredHeader:
    """Find the data and say how much they can hold."""
    fields, name = read.fields, read.fields[_END]
    if name.upper() == "LOCAL":
        if name not in ("LOCAL", "Local", "local"):
            raise damaged(path, f"{_END} is {name!r}")
        data, begin = path, read.end
    else:
        data, begin = beside(path, os.fsdecode(name.encode("latin-1")), alone=alone), 0
    begin += max(0, whole_field(path, fields, "HeaderSize", 0))
    there = max(0, data.stat().st_size - begin)
    ratio = 1.0
    if fields.get("CompressedData", "False")[:1].upper() in ("T", "Y", "1"):
        ratio = DEFLATE
    elif fields.get("BinaryData", "True")[:1].upper() in ("F", "N", "0"):
        ratio = item / 2 + 1  # a digit and a space, and none after the last
    claimed = math.prod(sizes) * item
    return StoredHeader(path, sizes, claimed, data, begin, there, ratio, "MetaImageIO")


def _lines(path: Path) -> _Lines:
    """Split the header; every line has to be one that cannot be understood in two ways."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    begin = 0
    while True:
        end = content.find(b"\n", begin)
        if end < 0 and not _is_last(content, begin, path):
            raise damaged(path, f"the line {_END} is missing")
        raw = content[begin:] if end < 0 else content[begin:end]
        begin = len(content) if end < 0 else end + 1
        line = raw.decode("latin-1").strip("\r\t ")
        if not line:
            continue
        key, value = _field(path, raw, line)
        if key in fields and key in _KNOWN.values():
            raise damaged(path, f"{key} stands there twice")
        fields[key] = value
        if key == _END:
            return _Lines(fields, begin)


def _is_last(content: bytes, begin: int, path: Path) -> bool:
    """Whether the rest is the header's last line, of a file without a newline at its end."""
    return len(content) == path.stat().st_size and content[begin:].lstrip().startswith(
        _END.encode("ascii")
    )


def _field(path: Path, raw: bytes, line: str) -> tuple[str, str]:
    found = re.match(r"([^=:]*?)[ \t]*[=:](.*)", line, re.DOTALL)
    if found is None or len(raw) > _LONGEST_LINE or "\0" in line or "\r" in line:
        raise damaged(path, "a line is not of the form Key = Value")
    key, value = found[1].strip(), found[2].strip()
    known = _KNOWN.get(key.casefold())
    if known not in (None, key) or (known and not value):
        raise damaged(path, f"the line of {known} cannot be read")
    return key, value


def _numbers(path: Path, fields: dict[str, str], name: str, count: int) -> list[float]:
    """Return a list of numbers, empty where there is none; it must have exactly so many."""
    if name not in fields:
        return []
    try:
        found = [float(part) for part in fields[name].split()]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise damaged(path, f"{name} is not {count} numbers")
    return found
