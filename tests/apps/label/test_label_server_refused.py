"""What a real server refuses its clients: paths, code, and what is not offered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="needs the environment of MONAI Label")

import requests
from label_servers import Server

from monai_ddfm.apps.label.request import CHOICES

pytestmark = pytest.mark.label


@pytest.mark.parametrize(
    ("image", "params"),
    [
        ("../../etc/passwd", {}),
        ("/etc/passwd", {}),
        ("..", {}),
        ("$__import__('os').getcwd()", {}),
        ("@fixed", {}),
        ("a_t1\x00", {}),
        ("a_t1", {"image": "/etc/passwd"}),
        ("a_t1", {"image2": "../../etc/passwd", "modality": "PET"}),
        ("a_t1", {"image2": "/etc/passwd", "modality": "PET"}),
        ("a_t1", {"session2": "../../etc", "modality": "PET"}),
        ("a_t1", {"registration": "/etc/passwd"}),
        ("a_t1", {"output_dir": "/root"}),
        ("a_t1", {"prior": "/etc/passwd"}),
        ("a_t1", {"push": "http://127.0.0.1:1/"}),
        ("a_t1", [1]),
        ("a_t1", "no JSON"),
        ("", {}),
    ],
)
def test_no_path_of_a_client_is_followed(running: Server, image: str, params: object) -> None:
    before = running.log.count("fusion ")
    answer = running.infer(image, params if isinstance(params, str) else json.dumps(params))
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert "root:" not in answer.text
    assert running.log.count("fusion ") == before


@pytest.mark.parametrize("name", [*CHOICES, "window", "image2", "session2", "steps", "seed", "x"])
@pytest.mark.parametrize("sign", ["$", "@", "%", " $"])
def test_nothing_of_a_client_is_evaluated(
    running: Server, tmp_path: Path, name: str, sign: str
) -> None:
    canary = tmp_path / "canary"
    code = f"{sign}__import__('os').mkdir({str(canary)!r})"
    for value in (code, [code], {"a": code}, {"_target_": "os.mkdir", "path": str(canary)}):
        answer = running.infer("a_t1", {name: value})
        assert answer.status_code == 422, (name, value)
    assert not canary.exists()


def test_other_endpoints_follow_no_path_either(running: Server, volumes: Path) -> None:
    for path in ("datastore/image", "datastore/label", "datastore/image/info"):
        for name in ("../../../etc/passwd", "/etc/passwd"):
            query = {"image": name, "label": name, "tag": "final"}
            answer = requests.get(f"{running.url}/{path}", params=query, timeout=20)
            assert answer.status_code == 422
    kept = requests.delete(f"{running.url}/session/%2e%2e", timeout=20)
    assert kept.status_code in (404, 405, 422)
    packed = requests.put(
        f"{running.url}/session/",
        params={"uncompress": "true"},
        files={"files": ("a.tar", b"x")},
        timeout=20,
    )
    assert packed.status_code == 422
    before = (volumes / "datastore_v2.json").read_bytes()
    listed = json.dumps({"objects": {"x": {"image": {"ext": "", "info": {}}, "labels": {}}}})
    answer = requests.put(
        f"{running.url}/datastore/image",
        params={"image": "datastore_v2"},
        files={"file": ("datastore_v2.json", listed)},
        timeout=20,
    )
    assert answer.status_code == 422
    assert (volumes / "datastore_v2.json").read_bytes() == before


def test_what_is_not_offered(running: Server) -> None:
    posts = ["infer/other", "batch/infer/ddfm", "train/ddfm", "infer/wsi/ddfm", "reload"]
    for path in posts:
        answer = requests.post(f"{running.url}/{path}", params={"image": "a_t1"}, timeout=20)
        assert answer.status_code in (404, 405), path
    answer = running.infer("a_t1", output="dicom_seg")
    assert answer.status_code == 422
    with_file = requests.post(
        f"{running.url}/infer/ddfm", files={"file": ("x.nii.gz", b"x")}, timeout=20
    )
    assert with_file.status_code == 422
