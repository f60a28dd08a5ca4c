"""Refuses identifiers that could be anything but identifiers, before any endpoint sees them.

MONAI Label's own endpoints join identifiers, tags and session numbers from a request to the folders
they work in. So no request gets through whose identifiers could lead out of those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

__all__ = ["IdentifierMiddleware", "is_identifier"]

_IDENTIFIER = re.compile(r"[\w+(\[][\w .,+=~()\[\]-]{0,254}")
_NAMES = frozenset({"image", "label", "id", "tag", "session_id"})
_IN_PATH = frozenset({"session"})

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def is_identifier(text: str) -> bool:
    """Return whether a text can be nothing but the name of something in a store."""
    return bool(_IDENTIFIER.fullmatch(text)) and ".." not in text


class IdentifierMiddleware:
    """ASGI middleware that answers 422 to requests with other identifiers.

    Args:
        app: what comes next.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Let a request through, or refuse it."""
        refused = next(_refused(scope), None) if scope["type"] == "http" else None
        if refused is None:
            await self.app(scope, receive, send)
            return
        body = json.dumps({"detail": refused}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 422, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _refused(scope: Scope) -> Iterator[str]:
    """Yield what is wrong with the identifiers of a request."""
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    for name, value in query:
        if name in _NAMES and value and not is_identifier(value):
            yield f"{value[:60]!r} is no identifier of the store."
        if name == "uncompress" and value.strip().lower() not in ("", "0", "false", "no", "off"):
            yield "archives of files are not unpacked here; upload the files themselves."
    parts = unquote(scope.get("path", "")).strip("/").split("/")
    if {".", ".."} & set(parts):  # the way to the archive would lead to all that its host offers
        yield "addresses must be written without '.' and '..'."
    if parts[0] in _IN_PATH and len(parts) > 1 and not is_identifier("/".join(parts[1:])):
        yield "that is no session."
