"""Keeps the folders of the server out of its answers.

MONAI Label tells clients where the server keeps what it speaks of. Nobody needs that, so the names
of the folders are taken out of every answer in JSON, wherever they stand in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from monai_ddfm.apps.label.barrier import App, Message, Receive, Send

__all__ = ["FolderHider"]


class FolderHider:
    """ASGI middleware that takes folders out of answers in JSON.

    Args:
        app: what comes next.
        folders: those of the server.
    """

    def __init__(self, app: App, *, folders: Iterable[str | Path]) -> None:
        self.app = app
        spellings = {str(folder).rstrip("/") for folder in folders}
        spellings |= {str(Path(folder).resolve()) for folder in spellings}
        # The longest first: one may lie in another. Where a name goes on, it is another one.
        named = sorted(spellings - {"", "/"}, key=len, reverse=True)
        written = {
            json.dumps(name, ensure_ascii=ascii_only)[1:-1].encode(): None
            for name in named
            for ascii_only in (False, True)
        }
        self.hidden = [
            re.compile(rb"(?<![\w./-])" + re.escape(name) + rb"(?:/|(?![\w.-]))")
            for name in written
        ]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on and clean its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def cleaned(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_json(message):
                start = message
            elif start is None:
                await send(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await self._send(send, start, bytes(body))

        await self.app(scope, receive, cleaned)

    async def _send(self, send: Send, start: Message, body: bytes) -> None:
        for folder in self.hidden:
            body = folder.sub(b"", body)
        headers = [
            (name, str(len(body)).encode() if name.lower() == b"content-length" else value)
            for name, value in start.get("headers", ())
        ]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_json(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"application/json")
        for name, value in start.get("headers", ())
    )
