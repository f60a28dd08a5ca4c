"""Griffe extension: the few Sphinx forms in our docstrings, rewritten as Markdown.

The docstrings write mathematics as Sphinx does, because it reads well in an editor. The site is
made of Markdown. Rewritten are the role ``:math:``, the directives ``.. math::`` and
``.. code-block::``, and simple tables.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":math:`([^`]+)`", re.DOTALL)
_DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?P<kind>math|code-block)::(?P<argument>.*)\n"
    r"(?P<body>(?:\n|(?P=indent) +.*(?:\n|\Z))+)",
    re.MULTILINE,
)
_RULE = r"(?P=indent)=+(?: +=+)+ *\n"
_TABLE = re.compile(
    r"^(?P<indent> *)=+(?: +=+)+ *\n(?:.*\n)+?" + _RULE + r"(?:(?:.+\n)+?" + _RULE + ")?",
    re.MULTILINE,
)


class SphinxForms(griffe.Extension):
    """Rewrites every docstring once it is collected."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring with its Sphinx forms rewritten."""
    text = _TABLE.sub(_table, text + "\n").rstrip("\n")
    text = _DIRECTIVE.sub(_directive, text + "\n").rstrip("\n")
    return _ROLE.sub(lambda found: f"\\({' '.join(found[1].split())}\\)", text)


def _directive(found: re.Match[str]) -> str:
    indent, body = found["indent"], textwrap.dedent(found["body"]).strip("\n")
    if found["kind"] == "math":
        # Sphinx aligns at "&" and breaks at "\\" without being told.
        if re.search(r"\\\\|(?<!\\)&", body):
            body = f"\\begin{{align*}}\n{body}\n\\end{{align*}}"
        block = f"$$\n{body}\n$$"
    else:
        block = f"```{found['argument'].strip()}\n{body}\n```"
    return f"\n{textwrap.indent(block, indent)}\n\n"


def _table(found: re.Match[str]) -> str:
    return f"{found['indent']}```text\n{found[0]}{found['indent']}```\n"
