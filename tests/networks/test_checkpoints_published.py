"""Fetching a published checkpoint: from a real server, whole and as published, or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors import PublishedCheckpoint, fetch_checkpoint

NAME = "256x256_diffusion_uncond.pt"
CONTENT = bytes(range(256)) * 12_000  # some blocks, the last one not full


class Shelf(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in (f"/whole/{NAME}", f"/short/{NAME}"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if "whole" in self.path else CONTENT[: len(CONTENT) // 2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published() -> Iterator[PublishedCheckpoint]:
    """What a server on this machine has, described as the real one is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield PublishedCheckpoint(
            name=NAME,
            url=f"http://127.0.0.1:{server.server_port}/whole/{NAME}",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            most_bytes=len(CONTENT),
            source="this test",
        )
        server.shutdown()
        thread.join()


def test_the_file_arrives_whole(published: PublishedCheckpoint, tmp_path: Path) -> None:
    counts: list[int] = []
    file = fetch_checkpoint(published, tmp_path, progress=counts.append)
    assert file == tmp_path / NAME
    assert file.read_bytes() == CONTENT
    assert counts == sorted(counts)
    assert counts[-1] == len(CONTENT)
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(InputError, match="exists already"):
        fetch_checkpoint(published, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sha256": "0" * 64}, "instead of 0000"),
        ({"most_bytes": 1000}, "is larger than"),
        ({"url": "whole>short"}, "instead of|cannot be fetched"),
        ({"url": "whole>absent"}, "cannot be fetched.*404"),
    ],
)
def test_anything_else_leaves_nothing(
    published: PublishedCheckpoint, tmp_path: Path, changes: dict[str, str | int], told: str
) -> None:
    if "url" in changes:
        changes = {"url": published.url.replace(*str(changes["url"]).split(">"))}
    with pytest.raises(InputError, match=told):
        fetch_checkpoint(replace(published, **changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing(published: PublishedCheckpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        fetch_checkpoint(published, tmp_path / "absent")
