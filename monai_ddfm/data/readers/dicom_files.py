"""Which DICOM files are there, which series they make, and which series is meant."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from monai_ddfm.data.readers.dicom_claims import check_deflated
from monai_ddfm.data.readers.dicom_contrast import shows_anatomy
from monai_ddfm.data.readers.dicom_series import joined
from monai_ddfm.data.readers.tags import text, texts, whole
from monai_ddfm.data.readers.volume import reason
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["DicomFile", "Series", "find_series", "looks_like_dicom", "read_dataset"]

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_UNSPECIFIC = ("", "OT", "SC")
_NO_VOLUME = ("SEG", "RTDOSE", "RTIMAGE", "PR", "KO", "SR", "REG", "RTSTRUCT", "RTPLAN")
_PLACES = (
    "ImagePositionPatient",
    "PerFrameFunctionalGroupsSequence",
    "DetectorInformationSequence",
)
_MOST_FILES = 100_000
_LONGEST_FIRST = 1024
_LISTED = 12


@dataclass(frozen=True)
class DicomFile:
    """One file and its header, without pixels."""

    path: Path
    header: Dataset

    @property
    def frames(self) -> int:
        """The number of frames it holds."""
        return max(1, whole(self.header, "NumberOfFrames", 1))

    @property
    def is_localizer(self) -> bool:
        """Whether it calls itself a localizer."""
        return "LOCALIZER" in {t.upper() for t in texts(self.header, "ImageType")}


@dataclass(frozen=True)
class Series:
    """The image files that share a SeriesInstanceUID, or were put together.

    Attributes:
        uid: the SeriesInstanceUID, of the first file if they were put together.
        files: the files.
        note: what had to be done to find them, ``""`` for nothing.
    """

    uid: str
    files: tuple[DicomFile, ...]
    note: str = ""

    @property
    def header(self) -> Dataset:
        """The header of the first file."""
        return self.files[0].header

    @property
    def code(self) -> str:
        """DICOM's code of the modality."""
        return text(self.header, "Modality").upper()

    @property
    def description(self) -> str:
        """The description a person chose by."""
        return text(self.header, "SeriesDescription")

    @property
    def frames(self) -> int:
        """The number of slices in all files."""
        return sum(file.frames for file in self.files)

    @property
    def is_localizer(self) -> bool:
        """Whether it consists of localizers only."""
        return all(file.is_localizer for file in self.files)

    @property
    def shows_anatomy(self) -> bool:
        """Whether it is more than phase images of an MRI."""
        return any(shows_anatomy(file.header) for file in self.files)

    @property
    def is_placed(self) -> bool:
        """Whether its first image may say where it lies; screenshots and projections do not."""
        return any(keyword in self.header for keyword in _PLACES)

    def __str__(self) -> str:
        number = text(self.header, "SeriesNumber") or "?"
        name = self.description or self.uid
        return f"'{name}' ({self.code or '?'}, number {number}, {self.frames} slices)"


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has DICOM's preamble, at least its ending, or at least its first element.

    Args:
        path: an existing file.

    Returns:
        True for what `read_dataset` should be tried on.
    """
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            begin = stream.read(132)
    except OSError:
        return False
    return begin[128:] == b"DICM" or (_begins_like_dicom(begin) and _is_bare_dicom(path))


def _begins_like_dicom(begin: bytes) -> bool:
    """Whether the first bytes may be an element of the groups that a dataset begins with."""
    if len(begin) < 8:
        return False
    little = begin[:2] in (b"\x02\x00", b"\x08\x00")
    if not little and begin[:2] not in (b"\x00\x02", b"\x00\x08"):
        return False
    explicit = begin[4:6].isalpha() and begin[4:6].isupper()
    return explicit or int.from_bytes(begin[4:8], "little" if little else "big") < _LONGEST_FIRST


def _is_bare_dicom(path: Path) -> bool:
    """Whether a file without preamble can be read as an image."""
    try:
        check_deflated(path)
    except InputError:
        return True  # whoever reads it is told what is wrong
    except OSError:
        return False
    try:
        wanted = ["SOPClassUID", "Rows", "Columns"]
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=wanted)
    except Exception:  # what anything but DICOM raises is not documented
        return False
    return "SOPClassUID" in dataset or ("Rows" in dataset and "Columns" in dataset)


def read_dataset(path: Path, *, pixels: bool) -> Dataset:
    """Read a DICOM file.

    Args:
        path: the file.
        pixels: whether to read the pixel data too.

    Returns:
        The dataset; some of its elements may still turn out damaged when they are touched.

    Raises:
        InputError: it is not a DICOM file, or cut off.
    """
    try:
        check_deflated(path)
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
        known = any(name in dataset for name in ("SOPClassUID", "Rows", "DirectoryRecordSequence"))
    except InputError:
        raise
    except Exception as error:  # what a damaged file raises is not documented
        raise InputError(
            f"{path} is a damaged or cut off DICOM file ({reason(error)}); fetch it again."
        ) from error
    if not known:
        raise InputError(f"{path} is not a DICOM image; give another file or remove it.")
    _name_syntax(dataset)
    return dataset


def _name_syntax(dataset: Dataset) -> None:
    """Say how a file without preamble is encoded, as it was found by reading it."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit, little = dataset.original_encoding
        if little:
            meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        else:
            meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.file_meta = meta


def find_series(path: Path, *, modality: Modality | None, series: str | None) -> Series:
    """Find the one series that is meant.

    Args:
        path: a DICOM file, or a folder that is searched with its subfolders.
        modality: choose among series of this modality only.
        series: SeriesInstanceUID, SeriesNumber or description (or an unambiguous part of it).

    Returns:
        The series.

    Raises:
        InputError: nothing fits, several series fit, or patients are mixed.
    """
    files = _images(path)
    groups: dict[str, list[DicomFile]] = {}
    for file in files:
        groups.setdefault(text(file.header, "SeriesInstanceUID"), []).append(file)
    members, notes = joined({uid: [f.header for f in files] for uid, files in groups.items()})
    found = [
        Series(uids[0], tuple(file for uid in uids for file in groups[uid]), note)
        for uids, note in zip(members, notes, strict=True)
    ]
    fitting = _named(found, series, path) if series else found
    if modality is not None:
        codes = modality.row.codes
        exact = [s for s in fitting if s.code in codes]
        fitting = exact or [s for s in fitting if s.code in _UNSPECIFIC]
        if not fitting:
            raise InputError(f"{path} holds no {modality}, but {_listing(found)}; choose another.")
    if len(fitting) > 1:
        fitting = [s for s in fitting if s.frames > 1 and not s.is_localizer] or fitting
        fitting = [s for s in fitting if s.is_placed] or fitting
        fitting = [s for s in fitting if s.shows_anatomy] or fitting
    _check_patients(fitting, path)
    if len(fitting) > 1:
        raise InputError(
            f"{path} holds {len(fitting)} series that could be meant; choose one with series=: "
            f"{_listing(fitting)}."
        )
    return fitting[0]


def _images(path: Path) -> list[DicomFile]:
    """Read the headers of all images."""
    if path.is_file():
        candidates = [path]
    else:
        try:
            entries = list(itertools.islice(path.rglob("*"), _MOST_FILES + 1))
        except OSError as error:
            raise InputError(f"{path} cannot be searched ({reason(error)}); check it.") from error
        if len(entries) > _MOST_FILES:
            raise InputError(f"{path} holds too many files; give the folder of the series itself.")
        candidates = sorted(
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.is_file() and looks_like_dicom(entry)
        )
        if not candidates:
            seen = sorted(e.name for e in entries if e.is_file())[:3]
            inside = f"it has {', '.join(seen)}" if seen else "it is empty"
            raise InputError(f"{path} holds no DICOM images ({inside}); give the image itself.")
    headers = [DicomFile(file, read_dataset(file, pixels=False)) for file in candidates]
    images = [file for file in headers if _is_image(file)]
    if not images:
        kinds = sorted({_kind(f.header) for f in headers})
        raise InputError(
            f"{path} holds no image with pixel data, but {', '.join(kinds[:3])}; give the image "
            "series itself."
        )
    return images


def _is_image(file: DicomFile) -> bool:
    header = file.header
    if text(header, "Modality").upper() in _NO_VOLUME:
        return False
    if whole(header, "Rows") > 0 and whole(header, "Columns") > 0:
        return True
    if "Image Storage" in _kind(header):
        # Left out silently, a slice that was cut off would shorten the volume.
        raise InputError(f"{file.path} is an image without pixels (cut off?); fetch it again.")
    return False


def _kind(header: Dataset) -> str:
    meta = getattr(header, "file_meta", None)
    uid = UID(text(header, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"))
    return uid.name if uid.name != uid else "an unknown object"


def _named(found: Sequence[Series], wanted: str, path: Path) -> list[Series]:
    plain = str(wanted).strip().casefold()
    rules = (
        lambda s: any(text(f.header, "SeriesInstanceUID") == plain for f in s.files),
        lambda s: s.description.casefold() == plain,
        lambda s: text(s.header, "SeriesNumber") == plain,
        lambda s: plain in s.description.casefold(),
    )
    for rule in rules:
        fitting = [s for s in found if rule(s)]
        if fitting:
            return fitting
    raise InputError(f"{path} holds no series '{wanted}', but {_listing(found)}; choose one.")


def _listing(found: Sequence[Series]) -> str:
    labels = [str(s) for s in found]
    told_apart = [
        label if labels.count(label) == 1 else f"{label} with UID {s.uid}"
        for s, label in zip(found, labels, strict=True)
    ]
    shown = ", ".join(told_apart[:_LISTED])
    return shown + (f" and {len(found) - _LISTED} more" if len(found) > _LISTED else "")


def _check_patients(fitting: Sequence[Series], path: Path) -> None:
    files = [file for s in fitting for file in s.files]
    for keyword in ("PatientID", "PatientName"):
        known = {text(file.header, keyword) for file in files} - {""}
        if len(known) > 1:
            raise InputError(
                f"{path} mixes images of {len(known)} patients; give a folder of one patient."
            )
        if known:
            return
