"""What every request has to get past: the name it asks for, what it would change, and its size.

A page of the web can have its own name resolve to the address of this server, and then ask it from
the browser of somebody who is near it (DNS rebinding). Its requests carry its name, so only names
that are known are answered, and addresses, which cannot be made to resolve to anything.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any

__all__ = ["Barrier", "is_known_host"]

_STORE = "datastore"
_READING = ("GET", "HEAD", "OPTIONS")
_LOCAL = ("localhost", "ip6-localhost")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Barrier:
    """ASGI middleware that refuses requests before any endpoint sees them.

    Args:
        app: what comes next.
        hosts: names of this server, beside ``localhost``, its own and addresses.
        writable: whether clients may change and remove what is in the store; they may add to it.
        most_bytes: that the body of a request may have.
    """

    def __init__(
        self, app: App, *, hosts: Iterable[str] = (), writable: bool = False, most_bytes: int
    ) -> None:
        self.app, self.writable, self.most_bytes = app, writable, most_bytes
        self.hosts = frozenset(name.lower() for name in (*_LOCAL, *_own_names(), *hosts))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "websocket":
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if (refused := self._refused(scope)) is not None:
            await _answer(send, *refused)
            return
        await self._limited(scope, receive, send)

    def _refused(self, scope: Message) -> tuple[int, str] | None:
        headers = [(name.lower(), value) for name, value in scope.get("headers", ())]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not is_known_host(hosts[0], self.hosts):
            return 400, "this server is not known under that name; ask it by its address."
        path, method = scope.get("path", "").strip("/").lower(), scope["method"]
        adds = method == "PUT" and path in (_STORE, f"{_STORE}/image")
        changes = path.split("/")[0] == _STORE and method not in _READING and not adds
        if changes and not self.writable:
            return 403, "nothing in the store of this server can be changed or removed."
        lengths = [value for name, value in headers if name == b"content-length"]
        if any(not value.isdigit() or int(value) > self.most_bytes for value in lengths):
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"a request may have {self.most_bytes / 2**20:.0f} MiB here; send less."

    async def _limited(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, and end it where its body turns out too large."""
        seen, over = 0, False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if seen > self.most_bytes:
                over = True
                raise ValueError("the body is too large")
            return message

        async def answered(message: Message) -> None:
            if not over:
                await send(message)

        try:
            await self.app(scope, counted, answered)
        except ValueError:
            if not over:
                raise
        if over:
            await _answer(send, 413, self._too_large())


def is_known_host(header: str, names: Iterable[str]) -> bool:
    """Whether a Host header names this server.

    Args:
        header: its value, with a port perhaps.
        names: of the server, in small letters.
    """
    host, colon, port = header.strip().lower().rpartition(":")
    if not colon or not port.isdigit() or (host.count(":") and not host.endswith("]")):
        host = header.strip().lower()
    if host.startswith("[") != host.endswith("]"):
        return False
    plain = host.removeprefix("[").removesuffix("]")
    with suppress(ValueError):
        ipaddress.ip_address(plain)
        return True
    return plain.removesuffix(".") in names


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0]} - {""}


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
