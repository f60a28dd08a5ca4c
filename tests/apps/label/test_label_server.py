"""A real server over a folder of volumes, asked by real clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs the environment of MONAI Label")

import requests
import SimpleITK as sitk
from label_servers import FAST, QUEUE, SLOW, Server, fuse_alone, received, values_of

from monai_ddfm.apps.label.process import Cancelled, FusionProcess, Limits
from monai_ddfm.apps.label.request import CHOICES

pytestmark = pytest.mark.label

NOTICE = "research use only - not for diagnosis"


@pytest.fixture(scope="module")
def expected(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What `fuse` gives for the subject a, without a server."""
    result = fuse_alone(
        volumes / "a_t1.nii.gz", volumes / "a_pet.nii.gz", tmp_path_factory.mktemp("alone")
    )
    return dict(result.files)


def assert_same(path: Path, other: Path) -> None:
    (values, affine), (others, other_affine) = values_of(path), values_of(other)
    assert values.dtype == others.dtype
    assert np.array_equal(values, others)
    assert np.array_equal(affine, other_affine)


# --- what is offered


def test_info_offers_the_model_and_its_options(running: Server) -> None:
    info = requests.get(f"{running.url}/info/", timeout=20).json()
    model = info["models"]["ddfm"]
    assert model["type"] == "others"
    assert NOTICE in model["description"]
    offered = {k: tuple(v) for k, v in model["config"].items() if isinstance(v, list)}
    assert offered == {k: v for k, v in CHOICES.items() if k != "store"}
    assert info["datastore"]["total"] == 6


def test_the_client_of_monai_label_uploads_and_fuses(
    running: Server, volumes: Path, expected: dict[str, Path], tmp_path: Path
) -> None:
    from monailabel.client import MONAILabelClient  # noqa: PLC0415

    client = MONAILabelClient(server_url=running.url, tmpdir=str(tmp_path))
    for kind in ("t1", "pet"):
        client.upload_image(str(volumes / f"a_{kind}.nii.gz"), f"new_{kind}")
    options = client.info()["models"]["ddfm"]["config"] | FAST
    file, about = client.infer("ddfm", "new_t1", options)
    assert_same(Path(file), expected["fused.nii.gz"])
    assert values_of(Path(file))[0].dtype == np.float32
    assert about["fixed"] == "new_t1"
    assert about["moving"] == "new_pet"
    assert about["modality"] == "PET"
    assert about["notice"] == NOTICE
    alone = json.loads(expected["provenance.json"].read_text())
    assert about["bound"]["largest"] == alone["bound"]["largest"]
    assert about["registration"]["moving"]["method"] == "none"
    assert str(volumes) not in json.dumps(about)


# --- the second volume


def test_partner_by_name(running: Server, expected: dict[str, Path], tmp_path: Path) -> None:
    answer = running.infer("a_t1")
    assert_same(received(answer, tmp_path / "fused.nii.gz"), expected["fused.nii.gz"])


def test_partner_by_identifier_as_nrrd(
    running: Server, expected: dict[str, Path], tmp_path: Path
) -> None:
    wanted = {**FAST, "image2": "a_pet", "result_extension": ".nrrd"}
    answer = running.infer("a_t1", wanted)
    image = sitk.ReadImage(str(received(answer, tmp_path / "fused.nrrd")))
    assert image.GetPixelID() == sitk.sitkFloat32
    truth = sitk.ReadImage(str(expected["fused.nii.gz"]))
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(truth))
    assert image.GetOrigin() == truth.GetOrigin()
    assert image.GetDirection() == truth.GetDirection()


def test_color_is_not_cast(running: Server, expected: dict[str, Path], tmp_path: Path) -> None:
    answer = running.infer("a_t1", {**FAST, "result": "color"})
    assert_same(received(answer, tmp_path / "rgb.nii.gz"), expected["fused_rgb.nii.gz"])


def test_options_reach_the_pipeline(running: Server, volumes: Path, tmp_path: Path) -> None:
    asked = {"window": "0..9000", "seed": 7, "preset": "reference", "color_table": "pet"}
    answer = running.infer("a_t1", {**FAST, **asked, "result": "color"})
    truth = fuse_alone(
        volumes / "a_t1.nii.gz", volumes / "a_pet.nii.gz", tmp_path / "alone", **asked
    )
    assert_same(received(answer, tmp_path / "rgb.nii.gz"), truth.files["fused_rgb.nii.gz"])


def test_partner_from_an_uploaded_file(
    running: Server, volumes: Path, expected: dict[str, Path], tmp_path: Path
) -> None:
    sessions = {}
    for kind in ("t1", "pet"):
        with (volumes / f"a_{kind}.nii.gz").open("rb") as file:
            answer = requests.put(
                f"{running.url}/session/",
                files={"files": (f"../$x_{kind}.nii.gz", file)},
                timeout=30,
            )
        sessions[kind] = answer.json()["session_id"]
    asked = {**FAST, "session2": sessions["pet"], "modality": "PET"}
    answer = running.infer("a_t1", asked)
    assert_same(received(answer, tmp_path / "one.nii.gz"), expected["fused.nii.gz"])
    answer = running.infer("", asked, session_id=sessions["t1"])
    assert_same(received(answer, tmp_path / "both.nii.gz"), expected["fused.nii.gz"])
    answer = running.infer("a_t1", {**FAST, "session2": sessions["pet"]})
    assert answer.status_code == 422
    assert "give the modality" in answer.json()["detail"]


def test_a_missing_partner_is_said_with_the_candidates(running: Server) -> None:
    answer = running.infer("lonely_t1")
    assert answer.status_code == 422
    told = answer.json()["detail"]
    assert "'lonely_t1' has no CT, PET or SPECT" in told
    assert "two_spect (SPECT)" in told
    assert "image2" in told


def test_an_ambiguous_partner_is_said_with_the_candidates(running: Server) -> None:
    answer = running.infer("two_t1")
    assert answer.status_code == 422
    assert "two_pet (PET), two_spect (SPECT)" in answer.json()["detail"]
    answer = running.infer("two_t1", {**FAST, "modality": "SPECT"}, output="json")
    assert answer.status_code == 200, answer.text
    assert answer.json()["moving"] == "two_spect"


def test_several_volumes_at_once(running: Server, volumes: Path, tmp_path: Path) -> None:
    ids = ["two_pet", "two_spect"]
    alone = fuse_alone(
        volumes / "two_t1.nii.gz",
        [volumes / f"{name}.nii.gz" for name in ids],
        tmp_path / "alone",
        modality=["PET", "SPECT"],
    )
    answer = running.infer("two_t1", {**FAST, "modality": ["PET", "SPECT"], "result": "files"})
    with zipfile.ZipFile(received(answer, tmp_path / "fusion.zip")) as packed:
        packed.extractall(tmp_path / "packed")
    told = {name for name in alone.files if name.endswith((".nii.gz", ".tfm"))}
    assert {"weight_pet.nii.gz", "moving_registered_spect.nii.gz", "transform_pet.tfm"} < told
    assert {path.name for path in (tmp_path / "packed").iterdir()} == told
    for name in told:
        if name.endswith(".nii.gz"):
            assert_same(tmp_path / "packed" / name, alone.files[name])
    # All that there are, in the order of the table; named ones in the order of their names.
    every = running.infer("two_t1", {**FAST, "modality": "all"}, output="json")
    assert every.status_code == 200, every.text
    assert (every.json()["moving"], every.json()["modality"]) == (ids, ["PET", "SPECT"])
    assert list(every.json()["registration"]) == ["moving_pet", "moving_spect"]
    named = running.infer("two_t1", {**FAST, "image2": "two_spect, two_pet"}, output="json")
    assert named.json()["moving"] == ids[::-1]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"image2": ["two_pet", "two_pet"], "modality": ["PET", "PET"], "name": "a,b"}, "twice"),
        ({"image2": ["two_pet", "a_pet"]}, "2 of the moving volumes are PET; tell them apart"),
        ({"modality": ["PET", "CT"]}, "'two_t1' has no CT by name; there are a_pet (PET)"),
        ({"image2": ["two_pet", "two_t1"]}, "two_t1 is given twice"),
        ({"modality": "all", "smooth_across": 1}, "smoothing across slices is for one moving"),
    ],
)
def test_several_that_do_not_go_together(
    running: Server, asked: dict[str, object], told: str
) -> None:
    answer = running.infer("two_t1", {**FAST, **asked})
    assert answer.status_code == 422
    assert told in answer.json()["detail"]


# --- manners


def test_eight_at_once_are_all_right_with_one_model(
    running: Server, expected: dict[str, Path], tmp_path: Path
) -> None:
    running.infer("a_t1")
    (worker,) = running.workers()
    alone = worker.memory_info().rss
    sizes, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            sizes.append([one.memory_info().rss for one in running.workers()])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: running.infer("a_t1"), range(8)))
    finally:
        done.set()
        watcher.join()
    for number, answer in enumerate(answers):
        assert_same(received(answer, tmp_path / f"{number}.nii.gz"), expected["fused.nii.gz"])
    assert running.workers() == [worker]
    assert {len(found) for found in sizes} == {1}
    assert max(map(sum, sizes)) < alone + 200 * 2**20
    assert running.log.count("is loaded") <= 1  # none where other files have asked before


def test_the_server_answers_while_it_fuses_and_tells_the_progress(running: Server) -> None:
    before = running.log.count("50 % of the sampling")
    with ThreadPoolExecutor(1) as client:
        fusion = client.submit(running.infer, "a_t1", {**FAST, "steps": 10})
        answered = 0
        while not fusion.done():
            assert requests.get(f"{running.url}/info/", timeout=15).status_code == 200
            answered += 1
            time.sleep(0.1)
        assert fusion.result().status_code == 200
    assert answered > 3
    assert running.log.count("50 % of the sampling") == before + 1


def test_a_killed_client_does_not_block_the_next(running: Server) -> None:
    query = f"{running.url}/infer/ddfm?image=a_t1"
    call = f"import requests; requests.post({query!r}, data={{'params': {json.dumps(SLOW)!r}}})"
    before = len(running.log)
    client = subprocess.Popen([sys.executable, "-c", call])
    waiting = subprocess.Popen([sys.executable, "-c", call])
    running.wait_for("1 before it", after=before)
    for one in (client, waiting):
        os.kill(one.pid, signal.SIGKILL)
        one.wait()
    assert running.infer("a_t1").status_code == 200
    assert "given up" in running.log[before:]
    assert "Traceback" not in running.log


def test_more_than_can_wait_are_turned_away(running: Server) -> None:
    def ask() -> requests.Response:
        return running.infer("a_t1", {**FAST, "steps": 3}, output="json")

    with ThreadPoolExecutor(QUEUE + 3) as clients:
        answers = list(clients.map(lambda _: ask(), range(QUEUE + 3)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * QUEUE + [503] * 3
    assert all(a.headers["Retry-After"] for a in answers if a.status_code == 503)


def test_nothing_is_left_behind(running: Server) -> None:
    assert running.infer("a_t1", output=None).status_code == 200
    assert running.infer("a_t1", {**FAST, "window": "1/0"}).status_code == 422
    end = time.monotonic() + 10
    while running.scratch and time.monotonic() < end:
        time.sleep(0.1)
    assert running.scratch == []


def test_limits_of_time_and_memory(volumes: Path, tmp_path: Path) -> None:
    def options(steps: int, name: str) -> dict[str, object]:
        return {
            "fixed": volumes / "a_t1.nii.gz",
            "moving": volumes / "a_pet.nii.gz",
            "modality": "PET",
            "output_dir": tmp_path / name / "out",
            **FAST,
            "steps": steps,
        }

    process = FusionProcess(device="cpu", limits=Limits(seconds=1, memory=8 * 2**30))
    try:
        with pytest.raises(ValueError, match="more than the 1 s"):
            process.fuse(options(900, "slow"), threading.Event())
        process.limits = Limits(seconds=60, memory=100 * 2**20)
        with pytest.raises(ValueError, match="more memory"):
            process.fuse(options(900, "large"), threading.Event())
        assert not list(tmp_path.rglob("*.nii.gz"))
        given_up = threading.Event()
        given_up.set()
        process.limits = Limits(seconds=60, memory=8 * 2**30)
        with pytest.raises(Cancelled):
            process.fuse(options(900, "unwanted"), given_up)
        assert process.fuse(options(2, "next"), threading.Event()).files["fused.nii.gz"].is_file()
    finally:
        process.close()
    assert process.pid is None
