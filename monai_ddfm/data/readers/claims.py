"""Whether a file can hold what its header claims, and whether that fits into memory.

A few bytes can claim gigabytes. A claim is judged before anything is allocated for it, in two ways:
against the bytes of the file, times the best ratio that their compression can reach, and against
the memory there is.

The best ratios follow from the formats. DEFLATE codes at most 258 bytes in two bits, so it reaches
1032. bzip2 codes a run of 255 bytes in five, and a block of such runs in some forty bytes; 45
million bytes of zeros make such a block, so it reaches more than a million.
"""

from __future__ import annotations

from pathlib import Path

from monai_ddfm.errors import InputError
from monai_ddfm.utils.memory import available_memory

__all__ = ["BZIP2", "DEFLATE", "check_against_file", "check_against_memory"]

DEFLATE = 1032
BZIP2 = 1_500_000
_BESIDE = 12
"""Bytes per voxel beside the stored value: float64 while it is scaled, and the float32 result."""


def check_against_file(path: Path, *, claimed: int, there: int, ratio: float = 1.0) -> None:
    """Refuse a claim that so many bytes cannot hold.

    Args:
        path: the file, for messages.
        claimed: bytes that its header claims.
        there: bytes of data in the file.
        ratio: the best ratio of their compression; 1 for none.

    Raises:
        InputError: the file is too small for its claim.
    """
    if claimed > there * ratio:
        raise InputError(
            f"{path} is not a readable image: its header claims {_size(claimed)} of voxels, which "
            f"the {_size(there)} that follow it cannot hold; export or fetch the file again."
        )


def check_against_memory(
    path: Path, *, voxels: int, stored: int, beside: int = _BESIDE, what: str = "voxels"
) -> None:
    """Refuse a claim for which there is no memory.

    Args:
        path: the file, for messages.
        voxels: how many are read at a time.
        stored: bytes that are read at a time.
        beside: bytes per voxel that reading takes beside those.
        what: what is counted, for messages.

    Raises:
        InputError: there is not enough memory.
    """
    needed, free = stored + voxels * beside, available_memory()
    if needed > free:
        raise InputError(
            f"{path} claims {voxels} {what}, which take {_size(needed)} of memory where "
            f"{_size(free)} are free; check its header or give it to a larger machine."
        )


def _size(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
