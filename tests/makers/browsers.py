"""Chromium, without a window and with WebGL in software."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    *("--no-sandbox", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


class Page:
    """A page in the browser, which notes what it complains about and what it asks for."""

    def __init__(
        self, browser: Any, path: Path, ready: str = "body", *, first: str = "", **about: Any
    ) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1400, "height": 1000}, **about})
        self.page.set_default_timeout(120_000)  # machines are busy
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if first:
            self.page.add_init_script(first)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(ready)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).text_content())

    def wide(self) -> bool:
        """Whether something does not fit into the width of the window."""
        return bool(self.page.evaluate("document.body.scrollWidth > innerWidth"))

    def close(self) -> None:
        """Close it; it must have asked for nothing else and complained of nothing."""
        self.page.close()
        assert self.complaints == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in self.requests)
