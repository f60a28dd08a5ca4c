"""Mutants of sound files, each from a seed: damage that a disk, a network or a person may do."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_NUMBERS = (
    b"-1", b"0", b"1", b"65535", b"65536", b"99999999", b"2147483647", b"4294967296",
    b"18446744073709551616", b"1e400", b"nan", b"-inf", b"0.0", b"1e-320", b"",
)  # fmt: skip
_PIECES = (
    b"\0" * 4, b"\xff" * 4, b"\n", b"\r\n", b" ", b"(", b"[" * 200, b"{" * 200, b"/etc/passwd",
    b"../../x", b"LOCAL", b"none", b"\xc3\x28", b"%s%n", b"\x7f\xff\xff\xff", b"\x80\0\0\0",
)  # fmt: skip

Change = Callable[[random.Random, bytearray], None]


def mutant(content: bytes, seed: int) -> bytes:
    """Return a mutant; equal seeds give equal ones."""
    chance = random.Random(seed)
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not changed:
            break
        chance.choice(_CHANGES)(chance, changed)
    return bytes(changed)


def _place(chance: random.Random, content: bytearray) -> int:
    """A place, more often than not where headers are."""
    near = min(len(content), chance.choice((64, 400, 2000, len(content))))
    return chance.randrange(near)


def _flip(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 4))):
        content[_place(chance, content)] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, content: bytearray) -> None:
    at = _place(chance, content)
    for place in range(at, min(len(content), at + chance.choice((1, 2, 4, 8)))):
        content[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _cut(chance: random.Random, content: bytearray) -> None:
    del content[_place(chance, content) + 1 :]


def _drop(chance: random.Random, content: bytearray) -> None:
    at = _place(chance, content)
    del content[at : at + chance.choice((1, 2, 4, 16, 100))]


def _insert(chance: random.Random, content: bytearray) -> None:
    at = _place(chance, content)
    content[at:at] = chance.choice(_PIECES)


def _repeat(chance: random.Random, content: bytearray) -> None:
    at = _place(chance, content)
    piece = bytes(content[at : at + chance.choice((1, 8, 64))])
    content[at:at] = piece * chance.choice((1, 2, 50))


def _number(chance: random.Random, content: bytearray) -> None:
    """Another number where one stands in the text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(content[:4000])))
    if found:
        one = chance.choice(found)
        content[one.start() : one.end()] = chance.choice(_NUMBERS)


def _line(chance: random.Random, content: bytearray) -> None:
    """A line less, twice, or elsewhere."""
    lines = bytes(content).split(b"\n")
    here = chance.randrange(min(len(lines), 30))
    there = chance.randrange(min(len(lines), 30))
    line = lines[here]
    if chance.random() < 0.6:
        del lines[here]
    if chance.random() < 0.6:
        lines.insert(there, line)
    content[:] = b"\n".join(lines)


_CHANGES: tuple[Change, ...] = (
    _flip, _flip, _set, _set, _cut, _drop, _insert, _repeat, _number, _number, _line,
)  # fmt: skip
