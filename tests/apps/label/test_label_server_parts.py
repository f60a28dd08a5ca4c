"""Parts of the label server that need no MONAI Label: queue, guard, folder, command."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_cases import command, one_sentence

from monai_ddfm.apps.label.identifiers import IdentifierMiddleware, is_identifier
from monai_ddfm.apps.label.pairing import PairingRules
from monai_ddfm.apps.label.queue import FusionQueue, QueueFullError
from monai_ddfm.apps.label.studies import FolderStudies
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

# --- queue


def test_one_after_the_other_in_order() -> None:
    queue = FusionQueue(8)
    seen, running = [], threading.Lock()

    def job(number: int) -> int:
        assert running.acquire(blocking=False)
        seen.append(number)
        time.sleep(0.01)
        running.release()
        return number

    turns = [queue.enter(lambda _, k=k: job(k)) for k in range(8)]  # type: ignore[misc]
    assert [turn.ahead for turn in turns] == sorted(turn.ahead for turn in turns)
    assert [turn.result.result(5) for turn in turns] == list(range(8))
    assert seen == list(range(8))
    queue.close()
    assert len(queue) == 0


def test_a_full_queue_and_giving_up() -> None:
    queue, release = FusionQueue(3), threading.Event()

    def job(cancelled: threading.Event) -> str:
        while not release.wait(0.01):
            if cancelled.is_set():
                raise InputError("given up")
        return "done"

    first, second, third = (queue.enter(job) for _ in range(3))
    with pytest.raises(QueueFullError):
        queue.enter(job)
    second.give_up()
    assert second.result.cancelled()
    assert len(queue) == 2
    first.give_up()
    with pytest.raises(InputError):
        first.result.result(5)
    release.set()
    assert third.result.result(5) == "done"
    assert queue.enter(job).result.result(5) == "done"
    release.clear()
    last = queue.enter(job)
    queue.close()
    assert last.result.done()


# --- guard


@pytest.mark.parametrize(
    "name", ["a_t1", "sub-01_T1w", "1.2.840.113619", "MR head (2)", "Kopf_Süd", "a+b=c", "x~1"]
)
def test_names_of_volumes_are_identifiers(name: str) -> None:
    assert is_identifier(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/../b", "a..b", "a/b", "a\\b", "a\0", "a\nb", "$x",
     "@x", "%x", ".hidden", "-rf", " a", "~root", "a" * 300, "a\u202eb"],
)  # fmt: skip
def test_paths_and_code_are_no_identifiers(name: str) -> None:
    assert not is_identifier(name)


@given(st.text())
def test_an_identifier_leads_nowhere_else(name: str) -> None:
    if is_identifier(name):
        assert (Path("/store") / name).resolve().parent == Path("/store")


def ask(path: str, query: str = "") -> int:
    """The status that a request gets from an application behind the guard."""
    statuses = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif statuses == [422]:
            assert json.loads(message["body"])["detail"]

    scope = {"type": "http", "path": path, "query_string": query.encode()}
    asyncio.run(IdentifierMiddleware(app)(scope, None, send))  # type: ignore[arg-type]
    return int(statuses[0])


def test_the_guard_lets_pass_what_names_nothing_outside() -> None:
    assert ask("/infer/ddfm", "image=a_t1&session_id=") == 200
    assert ask("/ohif/assets/app.js") == 200
    assert ask("/session/", "uncompress=false") == 200
    for name in ("image", "label", "id", "tag", "session_id"):
        for value in ("../x", "/x", "$x", ".."):
            assert ask("/datastore/image", f"a=b&{name}={quote(value, safe='')}") == 422
    assert ask("/infer/ddfm", "image=a_t1&image=..%2Fx") == 422
    for path in ("/session/..", "/session/../..", "/session/%2e%2e"):
        assert ask(path) == 422
    for way in ("../instances", "%2e%2e/instances", "wado/../../tools/x", "qido/%2E./x", "./x"):
        assert ask(f"/proxy/dicom/{way}") == 422
    assert ask("/proxy/dicom/qido/studies/1.2.3/series") == 200
    assert ask("/session/", "uncompress=true") == 422
    assert ask("/session/", "uncompress=1") == 422


# --- a folder


class Store:
    """A store's list, which may say anything."""

    def __init__(self, **files: Path) -> None:
        self.files = files

    def list_images(self) -> list[str]:
        return list(self.files)

    def get_image_uri(self, image: str) -> str:
        return str(self.files[image])


def test_a_folder_gives_its_own_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    for name in ("a_t1", "a_pet"):
        (folder / name).write_bytes(b"x")
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    (folder / "link").symlink_to(outside)
    store = Store(
        a_t1=folder / "a_t1", a_pet=folder / "a_pet", out=outside, link=folder / "link",
        gone=folder / "gone",
    )  # fmt: skip
    studies = FolderStudies(store, folder, PairingRules())
    (found,) = studies.find_partners("a_t1", ())
    assert (found.id, found.modality) == ("a_pet", Modality.PET)
    assert found.fetch(tmp_path) == folder / "a_pet"
    for name in ("out", "link", "gone", "other", "../outside", str(outside), ""):
        with pytest.raises(InputError):
            studies.find(name)


# --- command


def test_command_refuses_in_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.json"
    file.write_text("[]")
    calls = {
        "is no folder": ["--studies", tmp_path / "absent"],
        "limits must be positive": ["--studies", tmp_path, "--time-limit", "0"],
        "no JSON object": ["--studies", tmp_path, "--pairs", file],
        "no regular expression": ["--studies", tmp_path, "--pattern", "("],
        "both --certificate and --key": ["--studies", tmp_path, "--key", file],
        "device 'cuda:99' is not": ["--studies", tmp_path, "--device", "cuda:99"],
    }
    for told, words in calls.items():
        status, _, err = command(capfd, "label", *words)
        assert status == 2
        assert told in one_sentence(err)


@pytest.mark.skipif(
    importlib.util.find_spec("monailabel") is not None, reason="MONAI Label is installed"
)
def test_without_monai_label_the_command_says_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = command(capfd, "label", "--studies", tmp_path)
    assert status == 2
    assert "PIP_CONSTRAINT=constraints-label.txt pip install" in one_sentence(err)
    assert "monailabel" not in sys.modules
