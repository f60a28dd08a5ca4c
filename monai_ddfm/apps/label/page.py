"""The page at the root of the server: what it offers, for a person with a browser.

MONAI Label shows a page there that loads its scripts from elsewhere. This one loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["api_page"]


def api_page(schema: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        schema: of OpenAPI, as the application gives it.
    """
    about = schema["info"]
    rows = "".join(
        f"<tr><td>{escape(method.upper())}</td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(str(entry.get('summary', '')))}</td></tr>\n"
        for path, methods in sorted(schema["paths"].items())
        for method, entry in sorted(methods.items())
    )
    title = escape(f"{about['title']} {about['version']} - APIs")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1><p>Research use only - not for diagnosis. The same for programs: "
        '<a href="openapi.json">openapi.json</a>.</p>'
        f"<table>\n<tr><th>Method</th><th>Address</th><th>What it does</th></tr>\n{rows}</table>"
        "</body></html>"
    )
