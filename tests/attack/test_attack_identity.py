"""De-identified objects against the table of the basic profile, attribute by attribute."""

from __future__ import annotations

import gzip
from pathlib import Path

import pydicom
import pytest
from basic_profile import BASIC_PROFILE
from dicom_fusions import demo, fusion_case
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from run_cases import command, one_sentence, saved_prior

from monai_ddfm.data.readers.tags import UnreadableError, sure_numbers
from monai_ddfm.data.writers.dicom import SaveFusionDicomd
from monai_ddfm.data.writers.dicom.terms import DEFINED_TERMS, keep_defined_terms

CANARY = "CANARY"
DATE, TIME, ZONE = "19170203", "010203", "+1145"
_TEXTS = {"LO", "SH", "ST", "LT", "UT", "PN", "UC", "CS", "AE"}
_DATES = {"DA": DATE, "TM": TIME, "DT": DATE + TIME, "AS": "077Y"}


def stuffed(source: Path, folder: Path) -> Path:
    """A copy of a series with a canary in every attribute that can hold one."""
    folder.mkdir()
    for path in sorted(source.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        for number, keyword in enumerate([*BASIC_PROFILE, *DEFINED_TERMS]):
            if tag_for_keyword(keyword) is None or keyword in ("Laterality", "ImageLaterality"):
                continue
            kind = dictionary_VR(keyword)
            if kind in _TEXTS:
                setattr(dataset, keyword, f"{CANARY} {number}")
            elif kind in _DATES and "Acquisition" not in keyword and "Series" not in keyword:
                setattr(dataset, keyword, _DATES[kind])
        dataset.ScanOptions = ["FS", f"{CANARY} 1"]
        dataset.CorrectedImage = ["DECY", "ATTN", f"{CANARY} 2"]
        dataset.PatientName = f"{CANARY}^NAME"
        dataset.TimezoneOffsetFromUTC = ZONE  # anything else is refused where times matter
        block = dataset.private_block(0x0029, CANARY, create=True)
        block.add_new(0x10, "LO", f"{CANARY} 3")
        dataset.RequestAttributesSequence = [Dataset()]
        dataset.RequestAttributesSequence[0].ScheduledProcedureStepID = f"{CANARY} 4"
        dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", f"{CANARY} 5"
        dataset.LossyImageCompressionRatio = 12
        dataset.save_as(folder / path.name)
    return folder


def everything(dataset: Dataset) -> list[pydicom.DataElement]:
    return [*dataset.file_meta, *dataset.iterall()]


@pytest.mark.parametrize(
    "modality",
    [
        "PET",
        pytest.param("CT", marks=pytest.mark.slow),
        pytest.param("SPECT", marks=pytest.mark.slow),
    ],
)
def test_every_attribute_that_is_written(tmp_path: Path, modality: str) -> None:
    subject = demo(modality)
    fixed = stuffed(subject.fixed_dicom, tmp_path / "fixed")
    moving = stuffed(subject.moving_dicom, tmp_path / "moving")
    case = fusion_case(fixed, moving, modality=modality, transform=subject.truth)
    SaveFusionDicomd(tmp_path / "out", modality=modality, deidentify=True)(case)
    sources = [pydicom.dcmread(p) for f in (fixed, moving) for p in sorted(f.iterdir())]
    uids = {
        str(e.value)
        for one in sources
        for e in everything(one)
        if e.VR == "UI" and not str(e.value).startswith("1.2.840.10008")
    }
    read: dict[str, set[str]] = {}
    for one in sources:
        for element in one.iterall():
            read.setdefault(element.keyword, set()).add(str(element.value))
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    assert written
    seen = set()
    for path in written:
        assert CANARY.encode() not in path.read_bytes().upper(), path
        assert DATE.encode() not in path.read_bytes(), path
        assert ZONE.encode() not in path.read_bytes(), path
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        for element in everything(dataset):
            name, value = element.keyword, element.value
            seen.add(name)
            assert not element.tag.is_private, (path, element)
            if element.VR == "UI":
                values = [value] if isinstance(value, str) else list(value)
                assert not uids & set(map(str, values)), (path, element)
            if name in BASIC_PROFILE and element.VR != "SQ" and value not in (None, "", []):
                assert str(value) not in read.get(name, set()), (path, element)
            if name in DEFINED_TERMS and value:
                words = [value] if isinstance(value, str) else list(value)
                assert set(words) <= DEFINED_TERMS[name], (path, element)
    assert {"SeriesDescription", "PatientID", "BodyPartExamined"} - seen == {"BodyPartExamined"}


def test_terms_that_are_defined_stay() -> None:
    dataset = Dataset()
    dataset.BodyPartExamined, dataset.ScanOptions = "HEAD", ["FS", "FC"]
    dataset.CorrectedImage, dataset.MRAcquisitionType = ["DECY", "ATTN"], "3D"
    before = dataset.to_json()
    keep_defined_terms(dataset)
    assert dataset.to_json() == before
    dataset.ScanOptions, dataset.MRAcquisitionType = ["FS", "JANE DOE"], "JANE DOE"
    keep_defined_terms(dataset)
    assert dataset.ScanOptions == "FS"
    assert dataset.MRAcquisitionType is None


def test_text_in_the_pixels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    subject = demo("PET")
    folder = tmp_path / "moving"
    folder.mkdir()
    for number, path in enumerate(sorted(subject.moving_dicom.glob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        dataset.BurnedInAnnotation = "YES" if number == 3 else "NO"
        dataset.save_as(folder / path.name)
    call = ["fuse", "--fixed", subject.fixed, "--moving", folder, "--modality", "PET",
            "--steps", "2", "--registration", "none", "--device", "cpu",
            "--prior", saved_prior(tmp_path)]  # fmt: skip
    for form in ("nifti", "dicom"):
        out = tmp_path / form
        status, _, err = command(capfd, *call, "--deidentify", "--format", form, "-o", out)
        assert status == 2
        assert "--allow-burned-in" in one_sentence(err)
        assert not out.exists()


def test_words_in_the_place_of_units(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An apostrophe changes how Python quotes, and is in many names."""
    name = "O'CANARY"
    subject = demo("PET")
    folder = stuffed(subject.moving_dicom, tmp_path / "moving")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.Units, dataset.SUVType, dataset.DecayCorrection = name, name, name
        dataset.RescaleType, dataset.BurnedInAnnotation = name, "YES"
        dataset.save_as(path)
    status, out, err = command(
        capfd, "fuse", "--fixed", subject.fixed, "--moving", folder, "--modality", "PET",
        "--steps", "2", "--registration", "none", "--device", "cpu", "--deidentify",
        "--allow-burned-in", "--prior", saved_prior(tmp_path), "-o", tmp_path / "out",
    )  # fmt: skip
    assert status == 0, err
    assert CANARY not in (out + err).upper().replace(str(tmp_path).upper(), "")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert CANARY.encode() not in content.upper(), path


@pytest.mark.parametrize("keyword", ["RescaleSlope", "PixelSpacing", "PatientWeight"])
def test_sentences_quote_numbers_and_no_words(keyword: str) -> None:
    for value, quoted in (("2,0,1", True), ("JANE DOE", False), ("12 DOE", False)):
        dataset = Dataset()
        raw = RawDataElement(
            Tag(keyword), "DS", len(value), value.encode(), 0, is_implicit_VR=False,
            is_little_endian=True,
        )  # fmt: skip
        dataset[Tag(keyword)] = raw
        with pytest.raises(UnreadableError, match=keyword) as caught:
            sure_numbers(dataset, keyword)
        assert (value in str(caught.value)) == quoted
        assert "DOE" not in str(caught.value)
