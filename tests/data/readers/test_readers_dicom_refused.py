"""DICOM files that are no sound volume are refused clearly."""

from __future__ import annotations

from pathlib import Path

import dicom_makers as make
import pytest
from pydicom.data import get_testdata_file
from volume_checks import noise, notes, refusal

from monai_ddfm.transforms.loading import LoadVolume


def test_single_slice_of_a_series(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise())
    assert "give the folder" in refusal(folder / "00000.dcm")


def test_text_named_dcm(tmp_path: Path) -> None:
    folder = make.series(tmp_path / "a", noise())
    (folder / "slice99.dcm").write_text("not an image" * 100)
    assert "slice99.dcm is not a DICOM image" in refusal(folder)
    assert "slice99.dcm" in refusal(folder / "slice99.dcm")


@pytest.mark.parametrize("keep", [200, 500, -20])
def test_a_slice_that_ends_too_early_is_named(tmp_path: Path, keep: int) -> None:
    folder = make.series(tmp_path, noise())
    victim = folder / "00000.dcm"
    victim.write_bytes(victim.read_bytes()[:keep])
    assert "00000.dcm" in refusal(folder)


def test_slice_without_pixels(tmp_path: Path) -> None:
    def change(dataset: object, k: int) -> None:
        if k == 2:
            del dataset.PixelData

    assert "no pixel data" in refusal(make.series(tmp_path, noise(), change=change))


def test_dicom_that_is_no_image(tmp_path: Path) -> None:
    dataset = make.image(noise(8, 8), Rows=None, Columns=None, PixelData=None)
    assert "without pixels" in refusal(make.write(tmp_path / "a.dcm", dataset))
    report = get_testdata_file("test-SR.dcm", download=False)
    assert "Comprehensive SR" in refusal(report)


def test_image_without_a_place(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise(), ImagePositionPatient=None)
    assert "where its pixels lie" in refusal(folder)
    volume = LoadVolume(allow_unknown_geometry=True)(folder)
    assert volume.shape == (1, 10, 8, 6)
    assert (volume.meta["qform_code"], volume.meta["sform_code"]) == (0, 0)
    assert "does not place" in notes(volume)


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "perpendicular"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular"),
        ({"PixelSpacing": [0, 0]}, "where its pixels lie"),
        ({"PixelSpacing": [5000, 5000]}, "cannot be"),
        ({"Rows": 60000, "Columns": 60000}, "more than can be worked on"),
        ({"BitsAllocated": 13}, "pixel data"),
    ],
)
def test_a_header_that_cannot_be_is_refused(
    tmp_path: Path, tags: dict[str, object], word: str
) -> None:
    assert word in refusal(make.series(tmp_path, noise(), **tags))


def test_slices_of_two_sizes_and_spacings(tmp_path: Path) -> None:
    make.series(tmp_path / "a" / "1", noise(3, 8, 10))
    make.series(tmp_path / "a" / "2", noise(3, 6, 10), origin=(-20, 35.5, 30))
    assert "6" in refusal(tmp_path / "a")

    def change(dataset: object, k: int) -> None:
        dataset.PixelSpacing = [1, 1 + k]

    assert "pixel spacing" in refusal(make.series(tmp_path / "b", noise(), change=change))


def test_all_zero_pet(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise() * 0, modality="PT")
    assert "is zero" in refusal(folder)
