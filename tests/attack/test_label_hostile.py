"""A hostile client of the label server: a real server on loopback, and requests that must fail."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from hostile_files import SECRET, metaimage, nifti, nrrd
from label_servers import FAST, SLOW, Server, pet, server, write_volume

pytestmark = pytest.mark.label
GIB = 2**30


@pytest.fixture(scope="module")
def volumes(label_volumes: Path) -> Path:
    return label_volumes


@pytest.fixture(scope="module")
def running(label_server: Server) -> Server:
    return label_server.forget()


def put(running: Server, *paths: Path) -> requests.Response:
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    return requests.put(f"{running.url}/session/", files=files, timeout=60)


def raw(running: Server, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    """A request with exactly these headers."""
    place = urlsplit(running.url)
    line = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=30)
    line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        line.putheader(name.replace("_", "-"), value)
    line.endheaders()
    answer = line.getresponse()
    return answer.status, answer.read()


# --- files of the server


def test_an_upload_reads_no_file_of_the_server(running: Server, tmp_path: Path) -> None:
    before, secret = running.sessions, tmp_path / "secret.raw"
    secret.write_bytes(SECRET * 10)
    beside = tmp_path / "d.raw"
    beside.write_bytes(SECRET * 10)
    lies = [
        metaimage(tmp_path / "a.mha", str(secret), ElementType="MET_UCHAR"),
        metaimage(tmp_path / "b.mha", "../../../../etc/passwd", ElementType="MET_UCHAR"),
        metaimage(tmp_path / "c.mha", f"LIST\n{secret}", ElementType="MET_UCHAR"),
        metaimage(tmp_path / "d.mha", "meta.info", ElementType="MET_UCHAR"),
        metaimage(tmp_path / "e.mhd", "d.raw", ElementType="MET_UCHAR"),
        nrrd(tmp_path / "f.nrrd", f"data file: {secret}", type="uchar"),
        nrrd(tmp_path / "g.nhdr", "data file: d.raw", type="uchar"),
        nrrd(tmp_path / "h.nrrd", f"DATA FILE: LIST\n{secret}", type="uchar"),
    ]
    for path in lies:
        assert put(running, path).status_code == 422, path
    assert put(running, lies[4], beside).status_code == 422
    assert put(running, lies[0], lies[5]).status_code == 422
    for path in lies:
        answer = requests.put(
            f"{running.url}/datastore/image",
            params={"image": f"new_{path.stem}"},
            files={"file": (path.name, path.read_bytes())},
            timeout=60,
        )
        assert answer.status_code == 422, path
    assert running.sessions == before


def test_other_uploads_are_refused(running: Server, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"x" * 600)
    (tmp_path / "meta.info").write_text(json.dumps({"image": "/etc/passwd"}))
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name in ("x.tar", "meta.info", "x.h5"):
        assert put(running, tmp_path / name).status_code == 422, name
    claim = metaimage(tmp_path / "claim.mha", DimSize="1000 1000 1000", ElementType="MET_DOUBLE")
    assert put(running, claim).status_code == 422
    for name in ("..", "a/..", "../meta.info"):
        answer = requests.put(
            f"{running.url}/session/", files=[("files", (name, b"x"))], timeout=20
        )
        assert 400 <= answer.status_code < 500, name


def test_a_bomb_is_one_sentence_and_the_server_lives(running: Server, tmp_path: Path) -> None:
    bomb = nifti(tmp_path / "bomb.nii.gz", (1000, 1000, 1000))
    answer = put(running, bomb)
    assert answer.status_code == 200
    told = running.infer("", {**FAST, "image2": "a_pet"}, session_id=answer.json()["session_id"])
    assert told.status_code == 422
    assert "cannot hold" in told.json()["detail"]
    assert str(running.folder) not in told.text
    assert running.infer("a_t1").status_code == 200


# --- the store


def test_nothing_of_the_store_is_removed_or_replaced(running: Server, volumes: Path) -> None:
    before = {path.name: path.read_bytes() for path in volumes.glob("*.nii.gz")}
    other = (volumes / "two_pet.nii.gz").read_bytes()
    for place in ("datastore/", "datastore", "datastore/image", "DATASTORE/image", "/datastore/"):
        url = f"{running.url}/{place}"
        gone = requests.delete(url, params={"id": "a_t1"}, timeout=20)
        assert 400 <= gone.status_code < 500, place
        for name in ("a_t1", "a_pet"):
            changed = requests.put(
                url, params={"image": name}, files={"file": ("x.nii.gz", other)}, timeout=20
            )
            assert 400 <= changed.status_code < 500, place
    label = {"label": ("x.nii.gz", other)}
    query = {"image": "a_t1", "tag": "final", "label": "a_t1", "id": "a_t1"}
    for method, place in (
        ("PUT", "label"), ("DELETE", "label"), ("PUT", "label/info"), ("PUT", "image/info"),
        ("PUT", "updatelabelinfo"), ("POST", "image"), ("PATCH", "image"),
    ):  # fmt: skip
        answer = requests.request(
            method, f"{running.url}/datastore/{place}", params=query, files=label, timeout=20
        )
        assert 400 <= answer.status_code < 500, (method, place)
    assert {path.name: path.read_bytes() for path in volumes.glob("*.nii.gz")} == before


# --- hosts, sizes, and what answers tell


@pytest.mark.parametrize(
    "host",
    ["evil.example.org", "127.0.0.1.evil.org", "localhost.evil.org:8000", "", "a:b:c", "[::1"],
)
def test_foreign_hosts_are_not_answered(running: Server, host: str) -> None:
    for method, path in (
        ("GET", "/info/"),
        ("GET", "/datastore/"),
        ("POST", "/infer/ddfm"),
        ("GET", "/"),
    ):
        status, body = raw(running, method, path, Host=host)
        assert status == 400, path
        assert b"a_t1" not in body


def test_hosts_of_this_machine_are_answered(running: Server) -> None:
    port = urlsplit(running.url).port
    for host in ("127.0.0.1", f"127.0.0.1:{port}", "localhost", f"LOCALHOST:{port}", "[::1]:80"):
        assert raw(running, "GET", "/info/", Host=host)[0] == 200, host
    assert raw(running, "GET", "/info/", Host=socket.gethostname())[0] == 200


def test_uploads_have_a_limit(running: Server) -> None:
    most = int(0.01 * GIB)
    for place in ("/session/", "/datastore/image?image=x", "/infer/ddfm"):
        length = str(most + 1)
        assert raw(running, "PUT", place, Host="localhost", Content_Length=length)[0] == 413

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n'
        for _ in range(200):
            yield bytes(100_000)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        answer = requests.put(f"{running.url}/session/", data=endless(), headers=kind, timeout=60)
        assert answer.status_code == 413
    except requests.ConnectionError:
        pass  # it was ended while it was still sending
    left = [p for p in (running.folder / "tmp").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in left) < most


def test_answers_tell_no_folder(running: Server, volumes: Path, tmp_path: Path) -> None:
    made = put(running, write_volume(tmp_path / "mine.nii.gz", pet(1)))
    name = made.json()["session_id"]
    asked = [
        made,
        requests.get(f"{running.url}/session/{name}", timeout=20),
        *(requests.get(f"{running.url}/{place}", timeout=20) for place in (
            "info/", "datastore/", "datastore/?output=all", "datastore/?output=train",
            "datastore/image/info?image=a_t1", "datastore/label/info?label=a_t1&tag=final",
        )),
        requests.post(f"{running.url}/activelearning/random", timeout=20),
        requests.post(f"{running.url}/activelearning/first", timeout=20),
        running.infer("nobody"),
        running.infer("a_t1", output="json"),
        requests.delete(f"{running.url}/session/{name}", timeout=20),
    ]  # fmt: skip
    for answer in asked:
        for folder in (running.folder, volumes, Path(sys.prefix), Path("/tmp")):
            assert f'"{folder}' not in answer.text, answer.url
            assert str(running.folder) not in answer.text, answer.url
    unknown = running.infer("nobody").json()["detail"]
    assert "a_t1" not in unknown
    assert "lonely" not in unknown


def test_the_root_shows_what_is_offered(running: Server) -> None:
    page = requests.get(f"{running.url}/", timeout=20)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "/infer/{model}" in page.text
    assert "<script" not in page.text


def test_json_nested_deep(running: Server) -> None:
    assert running.infer("a_t1", "[" * 20_000).status_code == 422
    assert running.infer("a_t1", '{"a":' * 20_000).status_code == 422


# --- ports, kills


def test_a_port_in_use_is_one_sentence(tmp_path: Path, volumes: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        call = [
            sys.executable,
            "-m",
            "monai_ddfm",
            "label",
            "--studies",
            str(volumes),
            "--port",
            port,
        ]
        done = subprocess.run(call, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert "cannot listen" in done.stderr.splitlines()[-1]
    assert "ready at" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_server_takes_its_worker_along_and_the_next_sweeps(
    tmp_path: Path, volumes: Path
) -> None:
    folder = tmp_path / "server"
    with server(folder, volumes) as made:
        query = f"{made.url}/infer/ddfm?image=a_t1"
        call = f"import requests; requests.post({query!r}, data={{'params': {json.dumps(SLOW)!r}}})"
        client = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
        made.wait_for("0 before it")
        (worker,) = made.workers()
        end = time.monotonic() + 30
        while not made.scratch and time.monotonic() < end:
            time.sleep(0.1)
        os.kill(made.process.pid, signal.SIGKILL)
        made.process.wait()
        worker.wait(timeout=20)
        assert not psutil.pid_exists(worker.pid)
        client.wait(timeout=30)
        assert made.scratch
    left = folder / "tmp"
    (left / "tmp").mkdir()
    for path in left.glob("ddfm-*"):
        path.rename(left / "tmp" / path.name)
    with server(left, volumes) as again:
        assert again.scratch == []
        assert len(list((left / "tmp").glob("ddfm-server-*"))) == 1
        assert again.infer("a_t1").status_code == 200
    assert not list((left / "tmp").glob("ddfm-*"))
