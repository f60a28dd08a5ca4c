"""Options by the name that they have in the interface where a sentence is read.

A transform knows its own arguments, the command line knows flags, and MONAI's command the entries
of the configuration. A refusal should name what the reader can type: ``--fixed-series`` on the
command line, ``fixed_series=`` in Python, ``--fixed_series`` in MONAI's command.
"""

from __future__ import annotations

import re
from typing import Literal

from monai_ddfm.options import all_options

__all__ = ["Interface", "in_words_of"]

Interface = Literal["command line", "python", "monai"]

_FLAG = re.compile(r"(?<![\w-])--([a-z]+(?:[-_][a-z]+)*)(?: ([a-z]+))?")
_ARGUMENT = re.compile(r"(?<![\w-])([a-z]+(?:_[a-z]+)*)=([\w\[])?")


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
        if name not in all_options():
            return found[0]
        return f"--{name.replace('_', dash)}{' ' * bool(value)}{value}"

    named = _ARGUMENT.sub(as_flag, sentence)
    if interface == "monai":
        named = _FLAG.sub(_as_entry, named)
    return named


def _as_argument(found: re.Match[str]) -> str:
    name, word = found[1].replace("-", "_"), found[2]
    if name not in all_options():
        return found[0]
    if word in all_options()[name].words:
        return f"{name}={word}"
    return f"{name}={found[0].removeprefix('--' + found[1])}"


def _as_entry(found: re.Match[str]) -> str:
    name = found[1].replace("-", "_")
    rest = found[0].removeprefix(f"--{found[1]}")
    return f"--{name}{rest}" if name in all_options() else found[0]
