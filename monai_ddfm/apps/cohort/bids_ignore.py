"""What a data set's ``.bidsignore`` leaves out, in the grammar of ``.gitignore``.

A rule without a slash holds for names at any depth, one with a slash from the root on; ``*`` and
``?`` stay within a name, ``**`` between slashes does not; a slash at the end means folders, and
``!`` takes a rule back.
The last rule that fits decides (BIDS specification, "Validation"; gitignore, "Pattern format").

A rule comes with the data, and must not take for ever. So a path is followed name by name through
all places of the rule that it may have reached, and within a name every ``*`` takes as little as it
can, without a second try: where what follows fits at all, it may as well be where it fits first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_ddfm.errors import InputError

__all__ = ["Rule", "ignores", "read_rules"]

_ANY_DEPTH = None
_WILD = re.compile(r"\*+|\?|\[!?[^\]]+\]")
_LONGEST = 4096


@dataclass(frozen=True)
class Rule:
    """One line.

    Attributes:
        text: as it stands in the file.
        names: what fits the names of a path, from the root on; None fits any number of them.
        of_folders: whether only what is below such a path is meant.
        takes_back: whether what fits is not ignored after all.
    """

    text: str
    names: tuple[re.Pattern[str] | None, ...]
    of_folders: bool = False
    takes_back: bool = False

    def fits(self, path: str) -> bool:
        """Whether the rule holds for a path or a folder above it.

        Args:
            path: below the root, with slashes.
        """
        names = path.split("/")
        reached = self._passed({0})
        for name in names[: len(names) - self.of_folders]:
            after = set()
            for place in reached:
                pattern = self.names[place]
                if pattern is _ANY_DEPTH:
                    after.add(place)
                elif pattern.fullmatch(name):
                    after.add(place + 1)
            reached = self._passed(after)
            if len(self.names) in reached:
                return True
        return False

    def _passed(self, places: set[int]) -> set[int]:
        """Return the places and those after a None that they stand at: it fits no name, too."""
        free = [n for n in places if n < len(self.names) and self.names[n] is _ANY_DEPTH]
        return places | {place + 1 for place in free}


def read_rules(root: Path) -> list[Rule]:
    """Read the rules of a data set; none where it has no such file.

    Raises:
        InputError: the file cannot be read.
    """
    path = root / ".bidsignore"
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); correct it.") from error
    if any(len(line) > _LONGEST for line in lines):
        raise InputError(f"{path} has a rule of more than {_LONGEST} characters; correct it.")
    try:
        return [_rule(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    except re.error as error:
        raise InputError(f"{path} has a rule that is no pattern ({error}); correct it.") from error


def ignores(rules: Sequence[Rule], path: str) -> bool:
    """Whether the last rule that fits says so.

    Args:
        rules: of the data set.
        path: of a file below its root, with slashes.
    """
    last = next((rule for rule in reversed(rules) if rule.fits(path)), None)
    return last is not None and not last.takes_back


def _rule(line: str) -> Rule:
    plain = line.removeprefix("!")
    parts = plain.strip("/").split("/")
    anchored = "/" in plain.rstrip("/")
    names: list[re.Pattern[str] | None] = [] if anchored else [_ANY_DEPTH]
    for part in parts:
        if part != "**":
            names.append(_name(part))
        elif names[-1:] != [_ANY_DEPTH]:
            names.append(_ANY_DEPTH)
    if names[-1] is _ANY_DEPTH:  # what is below: one name at least
        names.append(_name("*"))
    return Rule(line, tuple(names), plain.endswith("/"), line.startswith("!"))


def _name(part: str) -> re.Pattern[str]:
    """Translate what a name has to be; a ``*`` and what is up to the next one are tried once."""
    pieces, stars, end = [""], 0, 0
    for found in _WILD.finditer(part):
        pieces[-1] += re.escape(part[end : found.start()])
        if found[0].startswith("*"):
            pieces.append("")
            stars += 1
        else:
            pieces[-1] += "." if found[0] == "?" else found[0].replace("[!", "[^")
        end = found.end()
    pieces[-1] += re.escape(part[end:])
    if not stars:
        return re.compile(pieces[0], re.DOTALL)
    between = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1])
    return re.compile(f"{pieces[0]}{between}.*{pieces[-1]}", re.DOTALL)
