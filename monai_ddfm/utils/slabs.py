"""Large volumes a few rows at a time, so that what is computed on the way stays small."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

__all__ = ["slabs"]

_MOST_VOXELS = 2**21


def slabs(shape: Sequence[int], *, most_voxels: int = _MOST_VOXELS) -> Iterator[slice]:
    """Cut a volume along its first axis.

    Args:
        shape: its sizes; those after the first make up one row.
        most_voxels: of a slab, unless a single row has more.

    Yields:
        Ranges of the first axis, in order; together they are the whole of it.

    Examples:
        >>> [(part.start, part.stop) for part in slabs((5, 10, 10), most_voxels=200)]
        [(0, 2), (2, 4), (4, 5)]
    """
    rows = max(1, most_voxels // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))
