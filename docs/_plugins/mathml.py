"""Markdown extension: mathematics becomes MathML while the site is built.

So a page needs no script, and nothing is fetched from anywhere when it is read.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


class _MathML(Postprocessor):
    """Replaces what the arithmatex extension has marked."""

    def run(self, text: str) -> str:
        text = _BLOCK.sub(lambda found: _mathml(found[1], display="block"), text)
        return _INLINE.sub(lambda found: _mathml(found[1], display="inline"), text)


class _Extension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - as Markdown calls it
        md.postprocessors.register(_MathML(md), "mathml", priority=0)


def makeExtension(**options: Any) -> Extension:  # noqa: N802 - as Markdown calls it
    """Return the extension."""
    return _Extension(**options)


def _mathml(latex: str, *, display: str) -> str:
    latex = html.unescape(latex).strip()
    # Two spellings that the converter does not know.
    latex = re.sub(r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}", latex)
    latex = re.sub(r"\\mathcal ([A-Z])", r"\\mathcal{\1}", latex)
    mathml = convert(latex, display=display)
    # Browsers have dropped the attribute.
    return re.sub(r'columnalign="(left|right)"', r'style="text-align: \1"', mathml)
