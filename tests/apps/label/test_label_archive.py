"""A real server before a real archive: Orthanc with its DICOMweb service, on loopback."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

pytest.importorskip("monailabel", reason="needs the environment of MONAI Label")

import requests
from dicomweb_client import DICOMwebClient
from label_servers import (
    AFFINE,
    FAST,
    Server,
    fuse_alone,
    mri,
    pet,
    received,
    server,
    values_of,
)
from local_servers import orthanc
from pydicom.uid import generate_uid
from requests.auth import HTTPBasicAuth

from monai_ddfm.apps.demo.dicom import write_series
from monai_ddfm.apps.demo.modalities import Volume

pytestmark = pytest.mark.label

LOGIN = HTTPBasicAuth("reader", "secret")


@dataclass(frozen=True)
class Archive:
    """The archive, and what was sent there."""

    url: str
    fixed: Path
    moving: Path

    @property
    def client(self) -> Any:
        session = requests.Session()
        session.auth = LOGIN
        return DICOMwebClient(url=self.url, session=session)

    def send(self, folder: Path, change: Callable[[pydicom.Dataset], None] | None = None) -> str:
        """Send a series, changed; returns its UID."""
        images = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
        for image in images:
            if change is not None:
                change(image)
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        self.client.store_instances(images)
        return str(images[0].SeriesInstanceUID)

    def series(self, study: str) -> dict[str, dict[str, Any]]:
        """The series of a study by their UID."""
        return {one["0020000E"]["Value"][0]: one for one in self.client.search_for_series(study)}

    def fetch(self, study: str, uid: str) -> list[pydicom.Dataset]:
        return self.client.retrieve_series(study, uid)


def named(study: str, series: str, **tags: str) -> Callable[[pydicom.Dataset], None]:
    """A change to another study and series."""

    def change(image: pydicom.Dataset) -> None:
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        for keyword, value in tags.items():
            setattr(image, keyword, value)

    return change


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("series")
    fixed = write_series(Volume(mri(1), AFFINE), folder / "mr", modality="MR", seed=1, scale=1)
    moving = write_series(Volume(pet(1), AFFINE), folder / "pt", modality="PET", seed=1, scale=1)
    users = {LOGIN.username: LOGIN.password}
    with orthanc(tmp_path_factory.mktemp("orthanc"), users=users) as address:
        yield Archive(f"{address}/dicom-web", fixed, moving)


@pytest.fixture(scope="module")
def running(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    login = {
        "MONAI_LABEL_DICOMWEB_USERNAME": LOGIN.username,
        "MONAI_LABEL_DICOMWEB_PASSWORD": LOGIN.password,
        "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": "1",
    }
    with server(tmp_path_factory.mktemp("server"), archive.url, env=login) as made:
        yield made


@pytest.fixture
def study(archive: Archive) -> tuple[str, str, str]:
    """A study of two series in the archive: UIDs of the study, the MRI and the PET."""
    uid = generate_uid()
    return (
        uid,
        archive.send(archive.fixed, named(uid, generate_uid())),
        archive.send(archive.moving, named(uid, generate_uid(), SeriesDescription="PET brain AC")),
    )


def errors_of(images: list[pydicom.Dataset], folder: Path) -> list[str]:
    """What dciodvfy calls errors."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    errors = []
    for image in images:
        path = folder / "checked.dcm"
        image.save_as(path, enforce_file_format=True)
        said = subprocess.run([program, path], capture_output=True, text=True, check=False).stderr
        assert said.strip()
        errors += [line for line in said.splitlines() if line.startswith("Error")]
    return errors


def test_two_series_in_the_fusion_back_in_the_study(
    running: Server, archive: Archive, study: tuple[str, str, str], tmp_path: Path
) -> None:
    uid, fixed, moving = study
    answer = running.infer(fixed, output="json")
    assert answer.status_code == 200, answer.text
    about = answer.json()
    assert about["moving"] == moving
    assert set(about["stored"]) == {"fused", "fused_rgb"}
    found = archive.series(uid)
    assert found.keys() == {fixed, moving, *about["stored"].values()}
    images = archive.fetch(uid, about["stored"]["fused"])
    sources = archive.fetch(uid, fixed)
    assert len(images) == len(sources) == 10
    assert {one.StudyInstanceUID for one in images} == {uid}
    assert {one.FrameOfReferenceUID for one in images} == {sources[0].FrameOfReferenceUID}
    assert {tuple(one.ImagePositionPatient) for one in images} == {
        tuple(one.ImagePositionPatient) for one in sources
    }
    assert all("research use only" in one.SeriesDescription for one in images)
    assert errors_of(images, tmp_path) == []
    assert errors_of(archive.fetch(uid, about["stored"]["fused_rgb"]), tmp_path) == []


def test_the_volume_equals_fuse_on_the_same_series(
    running: Server, archive: Archive, study: tuple[str, str, str], tmp_path: Path
) -> None:
    uid, fixed, moving = study
    folders = {}
    for series in (fixed, moving):
        folders[series] = tmp_path / series
        folders[series].mkdir()
        for number, image in enumerate(archive.fetch(uid, series)):
            image.save_as(folders[series] / f"{number}.dcm", enforce_file_format=True)
    answer = running.infer(fixed, {**FAST, "store": "nothing"})
    sent = values_of(received(answer, tmp_path / "fused.nii.gz"))
    alone = fuse_alone(folders[fixed], folders[moving], tmp_path / "alone")
    expected = values_of(alone.files["fused.nii.gz"])
    assert np.array_equal(sent[0], expected[0])
    assert np.array_equal(sent[1], expected[1])
    assert archive.series(uid).keys() == {fixed, moving}


def test_overlay_and_registration_on_request_and_results_are_no_sources(
    running: Server, archive: Archive, study: tuple[str, str, str], tmp_path: Path
) -> None:
    uid, fixed, moving = study
    asked = {**FAST, "image2": moving, "store": "everything"}
    stored = running.infer(fixed, asked, output="json").json()["stored"]
    assert {"presentation", "registration", "moving_registered", "weight"} <= stored.keys()
    found = archive.series(uid)
    kinds = {role: found[one]["00080060"]["Value"][0] for role, one in stored.items()}
    assert kinds["presentation"] == "PR"
    assert kinds["registration"] == "REG"
    assert kinds["moving_registered"] == "PT"
    everything = [image for one in stored.values() for image in archive.fetch(uid, one)]
    assert errors_of(everything, tmp_path) == []
    again = running.infer(fixed, {**FAST, "store": "nothing"}, output="json")
    assert again.status_code == 200, again.text
    assert again.json()["moving"] == moving
    refused = running.infer(stored["fused"], {**FAST, "image2": moving})
    assert refused.status_code == 422
    assert "result of a fusion" in refused.json()["detail"]


def test_the_best_series_by_description_or_none(
    running: Server, archive: Archive, study: tuple[str, str, str]
) -> None:
    uid, fixed, moving = study
    rest = {"store": "nothing", **FAST}
    archive.send(
        archive.moving, named(uid, generate_uid(), SeriesDescription="PET brain NAC uncorrected")
    )
    answer = running.infer(fixed, rest, output="json")
    assert answer.status_code == 200, answer.text
    assert answer.json()["moving"] == moving
    twin = archive.send(
        archive.moving, named(uid, generate_uid(), SeriesDescription="PET brain AC 2")
    )
    answer = running.infer(fixed, rest)
    assert answer.status_code == 422
    assert moving in answer.json()["detail"]
    assert twin in answer.json()["detail"]
    assert "10 images" in answer.json()["detail"]
    answer = running.infer(fixed, {**rest, "modality": "CT"})
    assert answer.status_code == 422
    assert "has no CT; there are" in answer.json()["detail"]


def test_what_is_not_in_the_archive(running: Server, archive: Archive) -> None:
    uid = generate_uid()
    alone = archive.send(archive.fixed, named(uid, generate_uid()))
    answer = running.infer(alone)
    assert answer.status_code == 422
    assert "has no CT, PET or SPECT" in answer.json()["detail"]
    for name in ("1.2.3", "../../etc/passwd", "a_t1", "$__import__('os')", "1.2.3?x=1", "*"):
        answer = running.infer(name)
        assert answer.status_code == 422, name
    answer = running.infer(alone, {**FAST, "image2": "*"})
    assert answer.status_code == 422


def test_the_store_lists_the_mri_and_the_viewer_is_served(
    running: Server, archive: Archive, study: tuple[str, str, str]
) -> None:
    info = requests.get(f"{running.url}/info/", timeout=30).json()
    assert info["models"]["ddfm"]["config"]["store"][0] == "fusion"
    assert info["datastore"]["total"] > 0
    page = requests.get(f"{running.url}/ohif/", timeout=30)
    assert page.status_code == 200
    assert "<html" in page.text.lower()
    answer = requests.get(
        f"{running.url}/proxy/dicom/qido/studies", headers={"Accept": "application/dicom+json"},
        timeout=30,
    )  # fmt: skip
    assert answer.status_code == 200
    assert study[0] in {one["0020000D"]["Value"][0] for one in answer.json()}


def test_a_silent_archive_is_said(tmp_path: Path) -> None:
    from monai_ddfm.apps.label.archive import ArchiveStudies, connect  # noqa: PLC0415

    with pytest.raises(ValueError, match="does not answer as it should"):
        ArchiveStudies(connect("http://127.0.0.1:9/dicom-web"), "ours").find("1.2.3")
