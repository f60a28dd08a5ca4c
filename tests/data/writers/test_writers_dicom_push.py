"""Sending to archives: a DICOM node in this process, and a real Orthanc."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from dicom_fusions import demo_case
from local_servers import free_port, orthanc

from monai_ddfm.data.writers.dicom import PushTarget, SaveFusionDicomd, push_dicom
from monai_ddfm.errors import InputError

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")
from pynetdicom import AE, evt


def body(path: Path) -> bytes:
    """A file without preamble and file meta information, which every archive writes anew."""
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        return file.read()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("objects")
    SaveFusionDicomd(folder, modality="PET")(demo_case("PET"))
    return sorted((folder / "dicom").rglob("*.dcm"))


class Node:
    """A storage node that keeps what it gets, and refuses what it is told to."""

    def __init__(self, refuse: str = "") -> None:
        self.kept: dict[str, bytes] = {}
        self.callers: set[str] = set()
        self.refuse = refuse
        node = AE(ae_title="ARCHIVE")
        names = {
            "1.2.840.10008.5.1.4.1.1.4",
            "1.2.840.10008.5.1.4.1.1.7",
            "1.2.840.10008.5.1.4.1.1.128",
            "1.2.840.10008.5.1.4.1.1.30",
            "1.2.840.10008.5.1.4.1.1.66.1",
            "1.2.840.10008.5.1.4.1.1.11.8",
        } - {refuse}
        for name in names:
            node.add_supported_context(name)
        node.require_called_aet = True
        self.port = free_port()
        self.server = node.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)]
        )

    def store(self, event: evt.Event) -> int:
        data = event.request.DataSet.getvalue()
        self.kept[str(event.request.AffectedSOPInstanceUID)] = data
        self.callers.add(event.assoc.requestor.ae_title)
        return 0xA700 if self.refuse == "full" else 0x0000


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.server.shutdown()


def test_a_run_is_sent_to_a_node_unchanged(node, tmp_path):
    target = f"ARCHIVE@127.0.0.1:{node.port}"
    result = SaveFusionDicomd(tmp_path, modality="CT", push=None)(demo_case("CT"))
    assert result["dicom"]["pushed"] == 0
    with pytest.raises(InputError, match="does not take objects of the class CT Image Storage"):
        push_dicom(sorted(tmp_path.rglob("*.dcm")), target)
    result = SaveFusionDicomd(tmp_path, modality="PET", push=target)(demo_case("PET"))
    written = sorted(tmp_path.rglob("*.dcm"))
    assert result["dicom"]["pushed"] == len(written)
    assert node.callers == {"MONAI_DDFM"}
    for path in written:
        assert node.kept[pydicom.dcmread(path).SOPInstanceUID] == body(path)


def test_what_a_node_refuses_is_said_and_the_files_stay(files):
    full = Node(refuse="full")
    with pytest.raises(InputError, match=r"did not store 0001\.dcm \(status 0xA700\)"):
        push_dicom(files, f"ARCHIVE@127.0.0.1:{full.port}")
    with pytest.raises(InputError, match="refuses the connection"):
        push_dicom(files, f"WRONG@127.0.0.1:{full.port}")
    full.server.shutdown()
    with pytest.raises(InputError, match="is not there"):
        push_dicom(files, f"ARCHIVE@127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="cannot be reached"):
        push_dicom(files, f"http://127.0.0.1:{free_port()}/dicom-web")
    assert all(path.is_file() for path in files)


@pytest.mark.parametrize(
    "text",
    ["", "host:104", "A@host", "A@host:0", "A@host:99999", "ftp://host/x", "http:///x",
     "seventeen_letters@host:104", "http://me:word@host/dicom-web"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused(text):
    with pytest.raises(InputError) as refused:
        PushTarget.parse(text)
    assert "word@" not in str(refused.value)


def test_addresses_are_understood():
    assert PushTarget.parse("PACS 1@archive.local:11112") == PushTarget(
        "PACS 1", "archive.local", 11112
    )
    assert PushTarget.parse("https://host:8042/dicom-web/").url == "https://host:8042/dicom-web"


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[tuple[str, int]]:
    """A real archive on loopback: its address and its DICOM port."""
    port = free_port()
    with orthanc(tmp_path_factory.mktemp("orthanc"), dicom=port) as address:
        yield address, port


def _fetched(address: str) -> dict[str, bytes]:
    """Every instance that the archive holds, by its UID."""
    found = {}
    for one in json.loads(_get(f"{address}/instances?expand")):
        uid = one["MainDicomTags"]["SOPInstanceUID"]
        found[uid] = _get(f"{address}/instances/{one['ID']}/file")
    return found


def _empty(address: str) -> None:
    for study in json.loads(_get(f"{address}/studies")):
        request = urllib.request.Request(f"{address}/studies/{study}", method="DELETE")
        urllib.request.urlopen(request, timeout=20).close()


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["PET", "CT", "SPECT"])
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_orthanc_gives_everything_back_bit_for_bit(archive, tmp_path, modality, way):
    address, port = archive
    _empty(address)
    target = f"ORTHANC@127.0.0.1:{port}" if way == "C-STORE" else f"{address}/dicom-web"
    SaveFusionDicomd(tmp_path, modality=modality, push=target)(demo_case(modality))
    written = {pydicom.dcmread(p).SOPInstanceUID: p for p in tmp_path.rglob("*.dcm")}
    fetched = _fetched(address)
    assert fetched.keys() == written.keys()
    for uid, data in fetched.items():
        back = tmp_path / "back.dcm"
        back.write_bytes(data)
        assert body(back) == body(written[uid]), written[uid]
