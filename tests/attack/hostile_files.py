"""Hostile files, made by code: headers that lie, and references that lead astray."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

SHAPE = (6, 7, 5)
SECRET = bytes(range(33, 127)) * 20


def voxels() -> bytes:
    return np.random.default_rng(3).normal(100, 20, SHAPE).astype("<f4").tobytes()


def metaimage(
    path: Path, data_file: str = "LOCAL", data: bytes | None = None, **fields: str
) -> Path:
    """A MetaImage file; a field of None is left out."""
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": " ".join(map(str, SHAPE)),
        "ElementType": "MET_FLOAT",
    } | fields
    text = "".join(f"{k} = {v}\n" for k, v in lines.items() if v is not None)
    body = voxels() if data is None and data_file == "LOCAL" else data or b""
    path.write_bytes(f"{text}ElementDataFile = {data_file}\n".encode() + body)
    return path


def nrrd(path: Path, data_file: str = "", data: bytes | None = None, **fields: str) -> Path:
    """An NRRD file; names of fields with _ for a blank."""
    lines = {
        "type": "float",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, SHAPE)),
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(0,0,0)",
    } | {name.replace("_", " "): value for name, value in fields.items()}
    text = "".join(f"{k}: {v}\n" for k, v in lines.items() if v is not None)
    if data_file:
        path.write_bytes(f"NRRD0004\n{text}{data_file}\n".encode())
    else:
        path.write_bytes(f"NRRD0004\n{text}\n".encode() + (voxels() if data is None else data))
    return path


def nifti(path: Path, dims: tuple[int, ...], *, code: int = 64, data: bytes = b"") -> Path:
    """A NIfTI file with these sizes and type, whatever its data."""
    bits = {2: 8, 4: 16, 16: 32, 64: 64}[code]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into(f"<{1 + len(dims)}h", header, 40, len(dims), *dims)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<h", header, 254, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    header[344:348] = b"n+1\0"
    content = bytes(header) + data
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def mgh(path: Path, sizes: tuple[int, int, int, int], *, kind: int = 3) -> Path:
    """An MGH file with these sizes and 4 kB of zeros."""
    header = struct.pack(">7ih", 1, *sizes, kind, 0, 1)
    header += struct.pack(">15f", 1, 1, 1, *np.eye(3).ravel(), 0, 0, 0)
    path.write_bytes(header.ljust(284, b"\0") + bytes(4096))
    return path


def zeros(count: int) -> bytes:
    """So many zeros, compressed with zlib, made without having them all at once."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    parts = [packer.compress(block) for _ in range(count // len(block))]
    return b"".join([*parts, packer.compress(bytes(count % len(block))), packer.flush()])
