"""What is selected of a source: time frames as they are typed, and the options that say it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from monai_ddfm.errors import InputError

__all__ = ["naming_role", "parse_frames"]

_ROLES = ("fixed", "moving")
_OPTION = re.compile(r"(?<![\w-])(series|frames)=")
_MOST_FRAMES = 100_000  # of a range, so that a slip of the keyboard cannot fill the memory


def naming_role(key: str, sentence: str) -> str:
    """Name the option of the item that a sentence is about: ``series=`` of fixed is another.

    Args:
        key: of the item.
        sentence: which a reader has raised.
    """
    role = key.partition("_")[0]  # of several moving volumes each has a name behind
    return _OPTION.sub(rf"{role}_\1=", sentence) if role in _ROLES else sentence


def parse_frames(frames: int | str | Sequence[int] | None) -> list[int] | None:
    """Read a selection of time frames.

    Args:
        frames: one number, several, or text such as "2", "0,3" or "2-5,8"; None for no selection.

    Returns:
        The numbers, counted from 0; None if there is no selection.

    Raises:
        InputError: it is no such selection.

    Examples:
        >>> parse_frames("2-4,7")
        [2, 3, 4, 7]
    """
    if frames is None:
        return None
    parts = frames.split(",") if isinstance(frames, str) else frames
    chosen: list[int] = []
    try:
        for part in [parts] if isinstance(parts, int) else parts:
            first, dash, last = str(part).strip().partition("-")
            numbers = range(int(first), int(last) + 1) if dash and first else [int(part)]
            chosen += list(numbers[:_MOST_FRAMES])
    except ValueError:
        raise InputError(
            f"the frames {frames!r} cannot be read; count them from 0, as in 2-5,8."
        ) from None
    return chosen
