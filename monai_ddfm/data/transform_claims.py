"""Transform files that are as simple as they look, told without any library.

Nearly all transform files are a few numbers under the name of a kind of transform. Where the kind
is known and the numbers are as many as it has, ITK can be trusted with the file. Everything else,
HDF5 above all, is for `monai_ddfm.data.transform_child`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MiscountError", "check_count", "is_plain"]

_LARGEST = 4 * 2**20
_COUNTS = {
    "AffineTransform": (12, (3,)),
    "MatrixOffsetTransformBase": (12, (3,)),
    "Euler3DTransform": (6, (3, 4)),
    "VersorTransform": (3, (3,)),
    "VersorRigid3DTransform": (6, (3,)),
    "Similarity3DTransform": (7, (3,)),
    "ScaleVersor3DTransform": (9, (3,)),
    "ScaleSkewVersor3DTransform": (15, (3,)),
    "TranslationTransform": (3, (0,)),
}
# Of these only the number of parameters is known: ITK reads them in a process of its own.
_RARE = {
    "ComposeScaleSkewVersor3DTransform": 12,
    "QuaternionRigidTransform": 7,
    "ScaleLogarithmicTransform": 3,
    "ScaleTransform": 3,
}
_GRIDS = ("BSplineTransform", "DisplacementFieldTransform")
_WHOLE = "CompositeTransform"
_MOST_POINTS = 10**7


class MiscountError(Exception):
    """A transform has another number of parameters than its kind; the message is a clause."""


Block = tuple[str, list[float], list[float]]
"""Name of the kind, parameters, fixed parameters."""


def is_plain(path: Path) -> bool:
    """Whether a file holds transforms of known kinds, each with as many numbers as it has.

    Args:
        path: an existing file, .tfm, .txt or .mat; other endings are never plain.

    Raises:
        OSError: it cannot be read.
        MiscountError: a transform of a known kind has another number of parameters. ITK would take
            what lies in memory after those that there are.
    """
    if path.stat().st_size > _LARGEST:
        return False
    try:
        if path.suffix.lower() == ".mat":
            blocks = list(_in_binary(path.read_bytes()))
        elif path.suffix.lower() in (".tfm", ".txt"):
            blocks = list(_in_text(path.read_text(encoding="utf-8")))
        else:
            return False
    except (ValueError, struct.error):
        return False
    kinds = [kind for kind, _, _ in blocks]
    if _WHOLE in kinds[1:] or not set(kinds) - {_WHOLE}:
        return False
    for kind, parameters, fixed in blocks:
        check_count(kind, len(parameters))
        if not _adds_up(kind, parameters, fixed):
            return False
    return True


def check_count(kind: str, count: int) -> None:
    """Refuse a transform of a known kind with another number of parameters.

    Args:
        kind: name of its class in ITK.
        count: how many it has.

    Raises:
        MiscountError: its kind has another number.
    """
    wanted = _COUNTS[kind][0] if kind in _COUNTS else _RARE.get(kind, count)
    if count != wanted:
        raise MiscountError(f"a {kind} has {wanted} parameters, and not {count}")


def _adds_up(kind: str, parameters: list[float], fixed: list[float]) -> bool:
    if not all(map(math.isfinite, [*parameters, *fixed])):
        return False
    if kind == _WHOLE:
        return not parameters and not fixed
    if kind in _COUNTS:
        count, fixed_counts = _COUNTS[kind]
        return len(parameters) == count and len(fixed) in fixed_counts
    if kind not in _GRIDS or len(fixed) != 18:
        return False
    sizes, spacing = fixed[:3], fixed[6:9]
    whole = all(n == int(n) and 1 <= n <= _MOST_POINTS for n in sizes) and min(spacing) > 0
    return whole and len(parameters) == 3 * math.prod(map(int, sizes))


def _in_text(text: str) -> Iterator[Block]:
    """Yield what a text file holds; anything odd is a ValueError."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith("#Insight Transform File V1"):
        raise ValueError("no transform file")
    fields = [line.partition(":") for line in lines[1:] if not line.startswith("#")]
    while fields:
        name, _, kind = fields.pop(0)
        found = re.fullmatch(r"(\w+?)_(?:double|float)_3_3", kind.strip())
        if name != "Transform" or found is None:
            raise ValueError(name)
        numbers: list[list[float]] = [[], []]
        for place, wanted in enumerate(("Parameters", "FixedParameters")):
            if fields and fields[0][0] == wanted:
                numbers[place] = [float(part) for part in fields.pop(0)[2].split()]
            elif found[1] != _WHOLE:
                raise ValueError(wanted)
        yield found[1], numbers[0], numbers[1]


def _in_binary(content: bytes) -> Iterator[Block]:
    """Yield what a file of MATLAB's level 4 holds: named matrices, two for each transform."""
    arrays = list(_arrays(content))
    if not arrays or len(arrays) % 2:
        raise ValueError("no pairs of arrays")
    for (name, parameters), (second, fixed) in zip(arrays[::2], arrays[1::2], strict=True):
        found = re.fullmatch(r"(\w+?)_(?:double|float)_3_3", name)
        if found is None or second.lower() != "fixed":
            raise ValueError(name)
        yield found[1], parameters, fixed


def _arrays(content: bytes) -> Iterator[tuple[str, list[float]]]:
    place = 0
    while place < len(content):
        kind, rows, columns, imaginary, length = struct.unpack_from("<5i", content, place)
        place += 20
        code = {0: "d", 10: "f", 100: "d", 110: "f"}.get(kind)
        if code is None or imaginary or not 0 < length < 200 or min(rows, columns) < 0:
            raise ValueError("not of level 4")
        name = content[place : place + length].rstrip(b"\0").decode("ascii")
        place += length
        if rows * columns > len(content):
            raise ValueError("cut off")
        values = struct.unpack_from(f"<{rows * columns}{code}", content, place)
        place += struct.calcsize(code) * rows * columns
        yield name, list(values)
