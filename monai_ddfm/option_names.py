"""Options by the name that they have in the interface where a sentence is read.

A transform knows its own arguments, the command line knows flags, and MONAI's command the entries
of the configuration. A refusal should name what the reader can type: ``--fixed-series`` on the
command line, ``fixed_series=`` in Python, ``--fixed_series`` in MONAI's command.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Literal

from monai_ddfm.bundle_files import bundle_root

__all__ = ["Interface", "in_words_of"]

Interface = Literal["command line", "python", "monai"]

_FLAG = re.compile(r"(?<![\w-])--([a-z]+(?:[-_][a-z]+)*)(?: (centers|headers))?")
_ARGUMENT = re.compile(r"(?<![\w-])([a-z]+(?:_[a-z]+)*)=(\w)?")
_OF_SOURCES = (
    "allow_patient_mismatch",
    "fixed_frames",
    "fixed_series",
    "invert_transform",
    "moving_frames",
    "moving_series",
    "registration",
    "registration_start",
    "window",
)
"""Options that transforms speak of; the other flags stay as whoever wrote the sentence chose."""


def in_words_of(interface: Interface, sentence: str) -> str:
    """Return a sentence with options named as in an interface.

    Args:
        interface: where it is read.
        sentence: which may name options as flags or as arguments.

    Examples:
        >>> in_words_of("command line", "choose one with fixed_series=: 'T1'.")
        "choose one with --fixed-series: 'T1'."
    """
    if interface == "python":
        return _FLAG.sub(_as_argument, sentence)
    dash = "-" if interface == "command line" else "_"

    def as_flag(found: re.Match[str]) -> str:
        name, value = found[1], found[2] or ""
        if name not in _entries():
            return found[0]
        return f"--{name.replace('_', dash)}{' ' * bool(value)}{value}"

    named = _ARGUMENT.sub(as_flag, sentence)
    if interface == "monai":
        named = _FLAG.sub(_as_entry, named)
    return named


def _as_argument(found: re.Match[str]) -> str:
    name = found[1].replace("-", "_")
    return f"{name}={found[2] or ''}" if name in _OF_SOURCES else found[0]


def _as_entry(found: re.Match[str]) -> str:
    name = found[1].replace("-", "_")
    value = f" {found[2]}" if found[2] else ""
    return f"--{name}{value}" if name in _entries() else found[0]


@lru_cache(maxsize=1)
def _entries() -> frozenset[str]:
    """Return the names of the configuration's entries, which are its options."""
    path = bundle_root() / "configs" / "inference.json"
    return frozenset(json.loads(path.read_text(encoding="utf-8")))
