"""Times and grids in words."""

from __future__ import annotations

__all__ = ["duration_words", "grid_words"]


def duration_words(seconds: float) -> str:
    """Say a time in words, as exact as an estimate can be.

    Args:
        seconds: of an estimate.

    Examples:
        >>> duration_words(200.0)
        '3 min'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def grid_words(shape: tuple[int, ...], spacing: tuple[float, ...]) -> str:
    """Say a grid in words.

    Args:
        shape: voxels along the axes of space.
        spacing: their sizes in mm.

    Examples:
        >>> grid_words((96, 96, 66), (2.5, 2.5, 2.5))
        '96 x 96 x 66 voxels of 2.5 mm'
    """
    sizes = [f"{size:.3g}" for size in spacing]
    each = sizes[0] if len(set(sizes)) == 1 else " x ".join(sizes)
    return f"{' x '.join(map(str, shape))} voxels of {each} mm"
