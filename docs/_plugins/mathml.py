"""MkDocs hook: mathematics becomes MathML while the site is built.

So a page needs no script, and nothing is fetched from anywhere when it is read.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **kwargs: Any) -> str:  # noqa: ARG001
    """Replace what the arithmatex extension has marked."""
    content = _BLOCK.sub(lambda found: _mathml(found[1], display="block"), content)
    return _INLINE.sub(lambda found: _mathml(found[1], display="inline"), content)


def _mathml(latex: str, *, display: str) -> str:
    return convert(html.unescape(latex).strip(), display=display)
