"""The documents: commands with options that exist, the model card and the licenses complete."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import typer
from bundle_parts import BUNDLE, REPOSITORY, read
from run_cases import NOTICE

from monai_ddfm.cli import app
from monai_ddfm.data.writers.outputs import MARKER, OUTPUT_NAMES

DOCUMENTS = [
    BUNDLE / "docs" / "README.md",
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the commands in a document's shell blocks."""
    for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


def options_of(words: list[str]) -> dict[str, str]:
    given = {}
    for position, word in enumerate(words):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            given[name] = value if equals else "".join(words[position + 1 : position + 2])
    return given


def unknown_to_monai(words: list[str]) -> set[str]:
    own = set(inspect.signature(getattr(monai.bundle, words[0])).parameters)
    given = {name.removeprefix("--"): value for name, value in options_of(words).items()}
    for file in re.findall(r"[\w-]+\.json", given.get("config_file", "")):
        own |= set(read(file))
    return {name for name in given if re.split("#|::", name)[0] not in own}


def unknown_to_us(words: list[str]) -> set[str]:
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = set(options_of(words)) - known
    return unknown | ({words[0]} if words and hasattr(command, "commands") else set())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(path.parents[1])))
def test_documented_commands_have_existing_options(path: Path) -> None:
    unknown = []
    for words in commands(path):
        if words[:3] == ["python", "-m", "monai.bundle"]:
            unknown += [(*words, name) for name in unknown_to_monai(words[3:])]
        elif words[0] == "monai-ddfm":
            unknown += [(*words, name) for name in unknown_to_us(words[1:])]
    assert unknown == []


def test_the_check_of_documented_commands_finds_faults(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\ntrue && monai-ddfm fuse --fixd a \\\n  --moving b\n```\n")
    assert list(commands(page))[1] == ["monai-ddfm", "fuse", "--fixd", "a", "--moving", "b"]
    assert unknown_to_us(["fuse", "--fixd", "a", "--moving", "b"]) == {"--fixd"}
    assert unknown_to_us(["fuze", "--moving", "b"]) >= {"fuze"}
    assert unknown_to_us(["prior", "convert", "a", "b", "--dtype", "float16"]) == set()
    run = ["run", "--config_file", "configs/inference.json", "--fixd", "a", "--seed", "1"]
    assert unknown_to_monai(run) == {"fixd"}


def test_the_card_and_the_licenses() -> None:
    card = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    data = (BUNDLE / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert NOTICE in card.lower()
    for text in (card, data):
        for needed in ("CC BY-SA 3.0", "CC BY 4.0", "GR/S21533/02", "Jun Cheng", "1512427"):
            assert needed in text
    assert all(name in card for name in (*OUTPUT_NAMES, MARKER))
    assert (BUNDLE / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
