"""What all objects of a run share, and how a new one begins."""

from __future__ import annotations

import copy as copying
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from monai_ddfm.data.readers.tags import instant, text
from monai_ddfm.data.writers.dicom.grid import SliceGrid
from monai_ddfm.data.writers.dicom.sources import ImageReference, SourceSeries
from monai_ddfm.data.writers.dicom.uids import Uids
from monai_ddfm.data.writers.dicom.values import code, copy, item, line, update
from monai_ddfm.data.writers.dicom_results import ROLES
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source
from monai_ddfm.utils.files import NOTICE, OWN_MANUFACTURER
from monai_ddfm.version import __version__

__all__ = ["IMPLEMENTATION_UID", "Context", "made_here", "moment_of", "save"]

_NAMES = {
    "fused": "MR+{moving} fusion",
    "fused_rgb": "MR+{moving} fusion color",
    "moving_registered": "{moving} on MR grid",
    "weight": "{moving} share in fusion",
    "registration": "{moving} to MR",
    "presentation": "MR+{moving} overlay",
    "fixed": "MR as fused",
}

IMPLEMENTATION_UID = UID("2.25.173425032462017486463145677452241982154")
SOURCE_IMAGE = code("121322", "DCM", "Source image for image processing operation")
_EPOCH = datetime(1970, 1, 1)
_ORIENTED_BY_CODES = ("PT", "NM")
_UNPAIRED = {"HEAD", "BRAIN", "SKULL", "NECK", "HEADNECK", "WHOLEBODY"}


_ANY = "|".join(re.escape(name.format(moving="?")).replace(r"\?", ".+") for name in _NAMES.values())
_MADE = re.compile(f"(?:{_ANY}); {re.escape(NOTICE)}")
_LONGEST = 64  # of a LO, the notice included


def _description(role: str, moving: str) -> str:
    about = _NAMES[role].format(moving=moving)
    if len(about) + len(NOTICE) + 2 > _LONGEST:  # of many moving volumes
        about = about[: _LONGEST - len(NOTICE) - 2].rstrip(" +")
    return line(f"{about}; {NOTICE}")


def made_here(description: str) -> bool:
    """Return whether a SeriesDescription is that of a result, and of no acquired series."""
    return _MADE.fullmatch(description.strip()) is not None


@dataclass(frozen=True)
class Context:
    """What all objects of a run share.

    Attributes:
        grid: the slices.
        patient: elements of patient and study.
        frame_of_reference: of everything written.
        uids: names.
        moment: when the objects were made.
        records: the moving volumes.
        moved: the series that each was read from, None for one that was not DICOM.
        first_number: SeriesNumber of the first role.
        derivation: in words, how the fusion came to be.
        versions: of the software.
        fixed: the series that the MRI was read from, None if it was not DICOM.
        deidentify: keep nothing of the sources but technical values.
        roles: the series of the run in their order.
    """

    grid: SliceGrid
    patient: Dataset
    frame_of_reference: str
    uids: Uids
    moment: datetime
    records: tuple[Source, ...]
    moved: tuple[SourceSeries | None, ...]
    first_number: int
    derivation: str
    versions: tuple[str, ...]
    fixed: SourceSeries | None = None
    deidentify: bool = False
    roles: tuple[str, ...] = ROLES

    def of(self, number: int) -> Context:
        """Return what the objects of a single moving volume share."""
        own = slice(number, number + 1)
        return replace(self, records=self.records[own], moved=self.moved[own])

    @property
    def modality(self) -> Modality:
        """Of the moving volume, or of the first one."""
        return self.records[0].modality

    @property
    def moving(self) -> SourceSeries | None:
        """The series that the moving volume, or the first one, was read from."""
        return self.moved[0]

    @property
    def title(self) -> str:
        """What people read: the moving volume, or all of them."""
        return "+".join(source.title for source in self.records)

    @property
    def scans(self) -> list[SourceSeries]:
        """The series that the MRI and the moving volumes were read from, if they were DICOM."""
        return [one for one in (self.fixed, *self.moved) if one is not None]

    @property
    def date(self) -> str:
        """Date of the objects."""
        return self.moment.strftime("%Y%m%d")

    @property
    def time(self) -> str:
        """Time of the objects."""
        return self.moment.strftime("%H%M%S")

    def series_uid(self, role: str) -> UID:
        """Return the SeriesInstanceUID of a role."""
        return self.uid(role, "series")

    def uid(self, role: str, what: str | int) -> UID:
        """Return the UID of something in the series of a role."""
        return self.uids(self.folder(role), what)

    def folder(self, role: str) -> str:
        """Return a role with the name of the moving volume, where it has one of its own."""
        own = self.records[0].called(role)
        return own if len(self.records) == 1 and own in self.roles else role

    def series_number(self, role: str) -> int:
        """Return the SeriesNumber of a role."""
        return self.first_number + self.roles.index(self.folder(role))

    def description(self, role: str) -> str:
        """Return the SeriesDescription of a role, which ends with the notice."""
        return _description(role, self.title)

    def new(self, role: str, number: int, *, sop_class: UID, modality: str) -> FileDataset:
        """Begin an object: everything about patient, study, series, equipment and itself.

        Args:
            role: one of `ROLES`.
            number: its InstanceNumber, from 1.
            sop_class: its class.
            modality: DICOM's code.
        """
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = sop_class
        meta.MediaStorageSOPInstanceUID = self.uid(role, number)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = IMPLEMENTATION_UID
        meta.ImplementationVersionName = line(f"MONAI_DDFM {__version__}", "SH")
        dataset = FileDataset("", copying.deepcopy(self.patient), b"\0" * 128, meta)
        update(
            dataset,
            {
                "SOPClassUID": sop_class,
                "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
                "Modality": modality,
                "InstanceNumber": number,
                "FrameOfReferenceUID": self.frame_of_reference,
                "PositionReferenceIndicator": None,
            },
        )
        self.sign(dataset, role)
        return dataset

    def sign(self, dataset: Dataset, role: str) -> None:
        """Set what says who made an object, when, in which series, and what it is not good for.

        Args:
            dataset: the object.
            role: one of `ROLES`.
        """
        update(
            dataset,
            {
                "SpecificCharacterSet": "ISO_IR 192",
                "SeriesInstanceUID": self.series_uid(role),
                "SeriesNumber": self.series_number(role),
                "SeriesDescription": self.description(role),
                "SeriesDate": self.date,
                "SeriesTime": self.time,
                "ContentDate": self.date,
                "ContentTime": self.time,
                "InstanceCreationDate": self.date,
                "InstanceCreationTime": self.time,
                "Manufacturer": OWN_MANUFACTURER,
                "ManufacturerModelName": "DDFM fusion",
                "DeviceSerialNumber": __version__,
                "SoftwareVersions": list(self.versions),
            },
        )
        dataset.pop("ContributingEquipmentSequence", None)
        scanners = [series.header for series in self.scans]
        if scanners and not self.deidentify:
            dataset.ContributingEquipmentSequence = [_scanner(header) for header in scanners]
        self.locate(dataset)

    def locate(self, dataset: Dataset) -> None:
        """Copy which part of the body the MRI shows, of which side, and how the patient lay."""
        header = self.fixed.header if self.fixed is not None else None
        copy(dataset, header, "BodyPartExamined")
        for keyword, known in (
            ("Laterality", ("R", "L")),
            ("ImageLaterality", ("R", "L", "U", "B")),
        ):
            if text(header, keyword) in known:
                copy(dataset, header, keyword)
        if text(dataset, "Modality") not in _ORIENTED_BY_CODES:
            copy(dataset, header, "PatientPosition", empty=True)
        sided = {"Laterality", "ImageLaterality"} & set(dataset.dir())
        if text(dataset, "BodyPartExamined") not in _UNPAIRED and not sided:
            dataset.Laterality = None

    def sources(self, *references: ImageReference | None, moved: bool = False) -> list[Dataset]:
        """Return the items of a SourceImageSequence.

        Args:
            references: to what an image was made from; None is passed over.
            moved: whether the sources have another grid than the image.
        """
        items = []
        for reference in references:
            if reference is not None:
                one = reference.as_item()
                one.PurposeOfReferenceCodeSequence = [copying.deepcopy(SOURCE_IMAGE)]
                one.SpatialLocationsPreserved = "NO" if moved else "YES"
                items.append(one)
        return items


def moment_of(sources: SourceSeries | None) -> datetime:
    """Return a moment that follows from the MRI alone: when it was made, or the epoch."""
    header = sources.header if sources is not None else None
    for name in ("Content", "Series", "Study"):
        moment = instant(text(header, f"{name}Date"), text(header, f"{name}Time") or "000000")
        if moment is not None:
            return moment
    return _EPOCH


def save(dataset: FileDataset | Any, path: Any) -> None:
    """Write an object as a DICOM file.

    Args:
        dataset: with its file meta information.
        path: the file.
    """
    dataset.save_as(path, enforce_file_format=True)


def referenced_series(references: Sequence[ImageReference | None], study: str) -> dict[str, Any]:
    """Return the elements of the Common Instance Reference module (PS3.3 C.12.2).

    Args:
        references: to all that an object refers to; None is passed over.
        study: the object's StudyInstanceUID.
    """
    studies: dict[str, dict[str, dict[str, Dataset]]] = {}
    for reference in references:
        if reference is not None:
            series = studies.setdefault(reference.study, {}).setdefault(reference.series, {})
            series[reference.uid] = item(
                ReferencedSOPClassUID=reference.sop_class,
                ReferencedSOPInstanceUID=reference.uid,
            )

    def listed(series: dict[str, dict[str, Dataset]]) -> list[Dataset]:
        return [
            item(SeriesInstanceUID=uid, ReferencedInstanceSequence=list(images.values()))
            for uid, images in series.items()
        ]

    elements: dict[str, Any] = {}
    if study in studies:
        elements["ReferencedSeriesSequence"] = listed(studies.pop(study))
    if studies:
        elements["StudiesContainingOtherReferencedInstancesSequence"] = [
            item(StudyInstanceUID=uid, ReferencedSeriesSequence=listed(series))
            for uid, series in studies.items()
        ]
    return elements


def _scanner(header: Dataset) -> Dataset:
    scanner = item(PurposeOfReferenceCodeSequence=[code("109101", "DCM", "Acquisition Equipment")])
    copy(scanner, header, "Manufacturer", empty=True)
    copy(scanner, header, "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber")
    scanner.Manufacturer = scanner.Manufacturer or "unknown"
    return scanner
