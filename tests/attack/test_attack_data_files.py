"""Headers that name other files for their voxels: only a plain name beside them is followed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hostile_files import SECRET, metaimage, nrrd, voxels

from monai_ddfm.data.readers import read_volume
from monai_ddfm.data.readers.itk_headers import read_itk_header
from monai_ddfm.errors import InputError


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the folder of the header, large enough to be taken for voxels."""
    path = tmp_path / "secret.raw"
    path.write_bytes(SECRET)
    (tmp_path / "given").mkdir()
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, modality="PET")
    return str(caught.value)


def spellings(secret: Path) -> dict[str, str]:
    return {
        "absolute": str(secret),
        "upwards": f"../{secret.name}",
        "through": f"x/../../{secret.name}",
        "list": f"LIST\n{secret}",
        "list of one": f"LIST 2\n{secret}",
        "small list": f"list\n{secret}",
        "pattern": f"{secret.with_suffix('')}%d.raw 1 1 1",
        "plain pattern": "d%03d.raw 1 5 1",
        "url": f"file://{secret}",
        "backwards": f"..\\{secret.name}",
    }


@pytest.mark.parametrize("how", spellings(Path("/x")).keys())
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_metaimage_leads_nowhere(secret: Path, how: str, ending: str) -> None:
    path = metaimage(
        secret.parent / "given" / f"a{ending}", spellings(secret)[how], ElementType="MET_UCHAR"
    )
    assert "a.mh" in refused(path)


@pytest.mark.parametrize("how", spellings(Path("/x")).keys())
@pytest.mark.parametrize("field", ["data file: ", "datafile: ", "DATA FILE: ", "data file:"])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_nrrd_leads_nowhere(secret: Path, how: str, field: str, ending: str) -> None:
    path = nrrd(
        secret.parent / "given" / f"a{ending}", f"{field}{spellings(secret)[how]}", type="uchar"
    )
    assert f"a{ending}" in refused(path)


@pytest.mark.parametrize(
    "line",
    [
        "ElementDataFile: {}", "elementdatafile = {}", "ElementDataFile={}",
        " ElementDataFile = {}", "ElementDataFile =\t{}", "Comment = x\rElementDataFile = {}",
    ],
)  # fmt: skip
def test_other_spellings_of_the_last_line(secret: Path, line: str) -> None:
    path = metaimage(secret.parent / "given" / "a.mha", ElementType="MET_UCHAR")
    text = path.read_bytes().partition(b"ElementDataFile")[0]
    path.write_bytes(text + line.format(secret).encode() + b"\nElementDataFile = LOCAL\n" + SECRET)
    assert "a.mha" in refused(path)


def test_lists_that_are_too_short_do_not_swallow_the_next_line(secret: Path) -> None:
    for name, value in (("DimSize", "6 7"), ("Offset", "0 0"), ("TransformMatrix", "1 0 0 0 1 0")):
        path = metaimage(secret.parent / "given" / "a.mha", **{name: value})
        assert name in refused(path)


def test_other_formats_under_these_names_are_not_read(tmp_path: Path) -> None:
    """Stimulate files name their data too; ITK would find out by itself what a file is."""
    (tmp_path / "data.sdt").write_bytes(SECRET)
    for name in ("a.nrrd", "a.mha", "a.nhdr", "a.mhd"):
        path = tmp_path / name
        path.write_text(
            f"numDim: 3\ndim: 5 6 7\ndataType: BYTE\nstimFileName: {tmp_path}/data.sdt\n"
        )
        assert name in refused(path)


@pytest.mark.parametrize("make", [metaimage, nrrd])
def test_a_plain_name_beside_a_header_that_a_person_gives_is_read(tmp_path: Path, make) -> None:
    (tmp_path / "voxels of a.raw").write_bytes(voxels())
    word = "voxels of a.raw" if make is metaimage else "data file: voxels of a.raw"
    path = make(tmp_path / ("a.mhd" if make is metaimage else "a.nhdr"), word)
    wanted = np.frombuffer(voxels(), "<f4").reshape(5, 7, 6).T
    np.testing.assert_array_equal(read_volume(path, modality="PET").array[0], wanted)
    with pytest.raises(InputError, match="in one file"):
        read_itk_header(path, alone=True)


def test_fifos_devices_and_links_are_no_data_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.raw")
    (tmp_path / "zero.raw").symlink_to("/dev/zero")
    (tmp_path / "folder.raw").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.raw").write_bytes(voxels())
    (tmp_path / "far.raw").symlink_to(outside / "far.raw")
    for name in ("fifo.raw", "zero.raw", "folder.raw", "far.raw", "missing.raw"):
        for path in (
            metaimage(tmp_path / "a.mhd", name),
            nrrd(tmp_path / "a.nhdr", f"data file: {name}"),
        ):
            assert name in refused(path)


def test_volumes_that_are_fifos_or_devices_are_refused(tmp_path: Path) -> None:
    for ending in (".nii", ".nii.gz", ".mha", ".nrrd", ".mgh", ".dcm"):
        path = tmp_path / f"a{ending}"
        os.mkfifo(path)
        assert "cannot be opened" in refused(path)
        link = tmp_path / f"b{ending}"
        link.symlink_to("/dev/zero")
        assert "cannot be opened" in refused(link)
