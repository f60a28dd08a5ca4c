"""What is said of an option, and how it is read from the annotations of a group.

See `monai_ddfm.options` for the groups themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["Face", "Option", "read_groups"]

Face = Literal["fuse", "cohort", "fuse-2d", "demo", "label"]
"""Where an option may appear, beside Python and the configuration, which have them all."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        help: what it does, in one line.
        default: its value if nothing is said.
        computed: instead of a default, an expression of the configuration.
        unset: what holds if there is no default, in words.
        least: smallest number.
        most: largest number.
        above: number that it must exceed.
        unit: of the number.
        faces: where it appears.
        common: whether the short help shows it.
        required: whether a command cannot do without it.
        short: its letter on the command line, with the dash.
        recorded: whether the record of a run lists it among the options.
        changes_results: whether another value may give other results.
        needs_dicom: whether it says something about DICOM output only.
        each: whether there may be one for each of several moving volumes: a list, and on the
            command line the option so often.
        page: of the documentation that tells more.
        name: of the entry of the configuration.
        group: title of its group.
        types: what it may be, None left out; text of a command line becomes the first.
        words: that it knows.
        only_words: whether these are all that is possible.
        parts: its own options, if it is a group itself.
    """

    help: str = field(kw_only=False)
    default: Any = None
    computed: str = ""
    unset: str = "none"
    least: float | None = None
    most: float | None = None
    above: float | None = None
    unit: str = ""
    faces: tuple[Face, ...] = ()
    common: bool = False
    required: bool = False
    short: str = ""
    recorded: bool = True
    changes_results: bool = True
    needs_dicom: bool = False
    each: bool = False
    page: str = ""
    name: str = ""
    group: str = ""
    types: tuple[type, ...] = ()
    words: tuple[str, ...] = ()
    only_words: bool = False
    parts: Mapping[str, Option] = field(default_factory=dict)

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def entry(self) -> Any:
        """What the bundle's configuration says of it."""
        return self.computed or self.default

    @property
    def is_path(self) -> bool:
        """Whether a text is always the name of a file or folder."""
        return self.types[0] is Path

    @property
    def is_text(self) -> bool:
        """Whether it is text and nothing else."""
        kinds = set(self.types) - ({Sequence} if self.each else set())
        return kinds <= {str, Path} and not self.is_path

    @property
    def is_number(self) -> bool:
        """Whether it is a number."""
        return self.types[0] in (int, float)

    @property
    def is_mixed(self) -> bool:
        """Whether it is a number or a word."""
        return self.is_number and len(self.types) > 1

    @property
    def range(self) -> str:
        """The numbers that it may be, in words."""
        low = "" if self.least is None else f"{self.least:g}"
        if self.above is not None:
            low = f"more than {self.above:g}"
        if self.most is not None:
            top = f"{self.most:.10g}"
            words = f"{low} and at most {top}" if self.above is not None else f"{low} to {top}"
        else:
            words = low if self.above is not None or not low else f"{low} or more"
        return " ".join(filter(None, (words, self.unit)))

    @property
    def shown_default(self) -> str:
        """Its default in words."""
        if self.default is None:
            return self.unset
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def flat(self) -> Iterator[Option]:
        """Yield the option, or its parts under names of their own, such as ``patient_name``."""
        if not self.parts:
            yield self
        for part in self.parts.values():
            yield replace(part, name=f"{self.name}_{part.name}", group=self.group)

    def described(self) -> dict[str, Any]:
        """What is declared of it, in the words of JSON, for programs that offer it to people."""
        kinds = {bool: "switch", int: "whole number", float: "number", Path: "path"}
        numbers = {name: getattr(self, name) for name in ("least", "most", "above")}
        return {
            "name": self.name,
            "flag": self.flag,
            "help": self.help,
            "group": self.group,
            "kind": kinds.get(self.types[0], "text"),
            "words": list(self.words),
            "only_words": self.only_words,
            "default": self.default,
            "unset": self.unset,
            "unit": self.unit,
            "common": self.common,
            "required": self.required,
            **numbers,
        }

    def holds(self, number: float) -> bool:
        """Whether a number is in the range."""
        return (
            math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
        )


def read_groups(groups: Sequence[type]) -> Mapping[str, Option]:
    """Return the options of groups by name, each with what its annotation says.

    Args:
        groups: typed dictionaries; the title of one is the first line of its docstring.
    """
    options: dict[str, Option] = {}
    for group in groups:
        title = (group.__doc__ or "").splitlines()[0].rstrip(".")
        for name, hint in get_type_hints(group, include_extras=True).items():
            said, option = get_args(hint)
            options[name] = replace(option, name=name, group=title, **_read_type(said))
    return MappingProxyType(options)


def _read_type(said: Any) -> dict[str, Any]:
    """Return types, words and parts of what stands in an annotation."""
    is_union = get_origin(said) in (Union, UnionType)
    members = [m for m in (get_args(said) if is_union else (said,)) if m is not NoneType]
    words: tuple[str, ...] = ()
    types: list[type] = []
    parts: Mapping[str, Option] = {}
    for member in members:
        if get_origin(member) is Literal:
            words = get_args(member)
            types.append(str)
        elif is_typeddict(member):
            parts = read_groups([member])
            types.append(dict)
        else:
            types.append(get_origin(member) or member)
    return {
        "types": tuple(dict.fromkeys(types)),
        "words": words,
        "only_words": bool(words) and len(members) == 1,
        "parts": parts,
    }
