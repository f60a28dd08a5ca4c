"""Markdown extension: tables of options, made from their declarations in `monai_ddfm.options`.

A page asks for one by a comment: ``<!-- options: fuse -->`` for what a face of the program has,
``<!-- options: configuration -->`` for all entries of the bundle's configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from monai_ddfm.options import all_options, options_of
from monai_ddfm.options.fields import Option

_DOCS = Path(__file__).parents[1]
_COMMENT = re.compile(r"^<!-- options: (?P<face>[\w-]+) -->$", re.MULTILINE)
_KINDS = {bool: "on or off", float: "number", int: "whole number", dict: "see below"}


def with_tables(page: str) -> str:
    """Put the tables into a page."""
    return _COMMENT.sub(lambda found: table(found["face"]), page)


class _Tables(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return with_tables("\n".join(lines)).split("\n")


class _Extension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - as Markdown calls it
        md.preprocessors.register(_Tables(md), "option_tables", priority=100)


def makeExtension(**options: Any) -> Extension:  # noqa: N802 - as Markdown calls it
    """Return the extension."""
    return _Extension(**options)


def table(face: str) -> str:
    """Return the table of a face as Markdown.

    Args:
        face: one of those of an `Option`, or "configuration".
    """
    if face == "configuration":
        options = (
            o for o in all_options().values() if "fuse-2d" not in o.faces or len(o.faces) > 1
        )
        return "\n".join(_rows("entry", options, lambda o: f"`{o.name}`"))
    options = options_of(face).values()
    if face == "label":
        safe = (replace(o, types=tuple(t for t in o.types if t is not Path)) for o in options)
        return "\n".join(_rows("parameter", safe, lambda o: f"`{o.name}`", grouped=False))
    flat = (part for option in options for part in option.flat())
    return "\n".join(_rows("option", flat, _flags))


def _rows(
    heading: str, options: Iterable[Option], called: Any, *, grouped: bool = True
) -> Iterator[str]:
    """Yield the lines of a table for each group, with its title above."""
    head = [f"| {heading} | meaning | values | default |", "|---|---|---|---|"]
    for title, group in groupby(options, lambda option: option.group if grouped else ""):
        yield from ([f"**{title}**", ""] if title else [])
        yield from head
        for o in group:
            default = "required" if o.required and heading == "option" else _default(o)
            yield f"| {called(o)} | {_meaning(o)} | {_values(o)} | {default} |"
        yield ""


def _flags(option: Option) -> str:
    return ", ".join(f"`{flag}`" for flag in (option.flag, option.short) if flag)


def _meaning(option: Option) -> str:
    if not option.page:
        return option.help
    title = (_DOCS / option.page).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return f"{option.help} See [{title}](../{option.page})."


def _values(option: Option) -> str:
    if option.parts:
        return ", ".join(f"`{name}`" for name in option.parts)
    words = [f"`{word}`" for word in option.words]
    more = ["a path"] if Path in option.types else []
    if option.is_number:
        more = [option.range or _KINDS[option.types[0]], *more]
    elif not words and not more:
        more = [_KINDS.get(option.types[0], "text")]
    elif words and not option.only_words and not more:
        more = ["text"]
    return ", ".join([*words, *more])


def _default(option: Option) -> str:
    return option.unset if option.default is None else f"`{option.shown_default}`"
