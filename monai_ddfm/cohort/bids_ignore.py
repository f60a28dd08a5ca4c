"""What a data set's ``.bidsignore`` leaves out, in the grammar of ``.gitignore``.

A rule without a slash holds for names at any depth, one with a slash from the root on; ``*`` and
``?`` stay within a name, ``**`` does not; a slash at the end means folders, and ``!`` takes a rule
back.
The last rule that fits decides (BIDS specification, "Validation"; gitignore, "Pattern format").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_ddfm.errors import InputError

__all__ = ["Rule", "ignores", "read_rules"]

_WILD = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^\]]+\]")


@dataclass(frozen=True)
class Rule:
    """One line.

    Attributes:
        text: as it stands in the file.
        pattern: fits paths below the root, without a leading slash, and what is below them.
        takes_back: whether what fits is not ignored after all.
    """

    text: str
    pattern: re.Pattern[str]
    takes_back: bool = False


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
    fitting = [rule for rule in rules if rule.pattern.fullmatch(path)]
    return bool(fitting) and not fitting[-1].takes_back


def _rule(line: str) -> Rule:
    plain = line.removeprefix("!")
    folder = plain.endswith("/")
    name = plain.strip("/")
    anchored = "/" in plain.rstrip("/")
    prefix = "" if anchored else "(?:.*/)?"
    below = "/.*" if folder else "(?:/.*)?"
    return Rule(line, re.compile(prefix + _translated(name) + below), line.startswith("!"))


def _translated(name: str) -> str:
    parts, end = [], 0
    for found in _WILD.finditer(name):
        parts.append(re.escape(name[end : found.start()]))
        wild = found[0]
        if wild == "**/":
            parts.append("(?:.*/)?")
        elif wild == "/**":
            parts.append("/.*")
        elif wild.startswith("["):
            parts.append(wild.replace("[!", "[^"))
        else:
            parts.append({"**": ".*", "*": "[^/]*", "?": "[^/]"}[wild])
        end = found.end()
    return "".join([*parts, re.escape(name[end:])])
