"""Compressed voxels, read to their checksum.

gzip and zlib end with a checksum of what was packed. nibabel stops before it, and ITK hands on what
it has unpacked whatever the checksum says. So one flipped bit, which may change all voxels after
it, would be read without a word. Here a file is unpacked once more, piece by piece, and nothing of
it is kept.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

from monai_ddfm.errors import InputError

__all__ = ["check_packed"]

_PIECE = 2**20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_BEHIND = 64 * 2**20
"""Bytes that may follow the voxels; nobody waits for more."""


def check_packed(path: Path, data: Path, *, begin: int = 0, claimed: int) -> None:
    """Refuse compressed voxels that are not what was packed.

    Args:
        path: the file, for messages.
        data: where the voxels are.
        begin: where what is compressed begins.
        claimed: bytes of voxels; what lies far behind them is not looked at.

    Raises:
        InputError: they are damaged or cut off.
    """
    try:
        with data.open("rb") as file:
            file.seek(begin)
            _unpack(file, claimed)
    except zlib.error as error:
        raise _damaged(path, str(error).rsplit(": ", 1)[-1]) from error
    except EOFError as error:
        raise _damaged(path, "they end early") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check it.") from error


def _unpack(file: BinaryIO, claimed: int) -> None:
    """Unpack to the end of what is claimed and of the member that it ends in."""
    left = claimed + _BEHIND
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    while left > 0 and not (unpacker.eof and left <= _BEHIND):
        packed = unpacker.unconsumed_tail or unpacker.unused_data or file.read(_PIECE)
        if not packed and unpacker.eof:
            return  # whole, but too few, as the library will say
        if not packed:
            raise EOFError
        if unpacker.eof:  # another member follows, as parallel and blocked packers write them
            unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        left -= len(unpacker.decompress(packed, _PIECE))


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is damaged: its compressed voxels are not those that were packed ({why}); export "
        "or fetch the file again."
    )
