"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from monai_ddfm.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MADE = DOCS / "reference" / "api"  # from the package, when the site is built
WRITTEN = [path for path in sorted(DOCS.rglob("*.md")) if path.parent != MADE]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```", re.M | re.S
)


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def page_text(path: Path) -> str:
    """Return a page as it is built: with the tables of options."""
    about = importlib.util.spec_from_file_location(
        "option_tables", DOCS / "_plugins/option_tables.py"
    )
    assert about is not None
    assert about.loader is not None
    hook = importlib.util.module_from_spec(about)
    about.loader.exec_module(hook)
    return str(hook.with_tables(path.read_text(encoding="utf-8")))


def blocks(path: Path, language: str) -> Iterator[str]:
    for found in FENCE.finditer(path.read_text(encoding="utf-8")):
        if found["language"] == language:
            yield "\n".join(
                line.removeprefix(found["indent"]) for line in found["body"].splitlines()
            )


def command_at(words: list[str]) -> tuple[Any, list[str]]:
    """Walk down the command line's tree of commands; return the command and what is left."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words
