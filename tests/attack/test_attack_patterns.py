"""Patterns that come with the data: none takes for ever, and they mean what they meant."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest

from monai_ddfm.apps.cohort.bids_ignore import ignores, read_rules
from monai_ddfm.errors import InputError


def rules(folder: Path, *lines: str):
    (folder / ".bidsignore").write_text("\n".join(lines) + "\n")
    return read_rules(folder)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("*a" * 200 + "b", "a" * 250),
        ("*" * 4000 + "b", "a" * 250),
        ("**/" * 1000 + "b", "a/" * 1000 + "c"),
        ("**/a*a*a*a/" * 100 + "b", "aaaaaaaaaaaaaaaaaaaaaaa/" * 150 + "c"),
        ("*[ab]?" * 300 + "c", "ab" * 120),
    ],
)
def test_rules_of_many_stars(tmp_path: Path, rule: str, path: str) -> None:
    begin = time.process_time()
    assert not ignores(rules(tmp_path, rule), path)
    assert time.process_time() - begin < 2


def test_a_rule_of_endless_length(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bidsignore has a rule of more than 4096 characters"):
        rules(tmp_path, "*a" * 3000)


def test_names_fit_as_by_trying_everything(tmp_path: Path) -> None:
    """All patterns of up to five of these signs, against Python's backtracking matcher."""
    names = ["".join(n) for k in range(1, 6) for n in itertools.product("ab", repeat=k)]
    for signs in itertools.product("ab*?", repeat=4):
        pattern = "".join(signs)
        plain = re.compile(pattern.replace("*", ".*").replace("?", "."))
        (rule,) = rules(tmp_path, f"/{pattern}")
        assert [rule.fits(name) for name in names] == [
            bool(plain.fullmatch(name)) for name in names
        ], pattern
