"""Cases in a tree of DICOM files, told apart by their headers and never by their names.

Patients are told apart by ID and issuer, volumes by the series' UID. A patient gets a number as
label, because IDs must not get into file names and pages. Who has which number is kept in the work
folder (`monai_ddfm.apps.cohort.confidential`), so that later runs give the same numbers.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from monai_ddfm.apps.cohort.cases import Case, Finding, Problem, Selection, label_of
from monai_ddfm.apps.cohort.pairing import Candidate, pair
from monai_ddfm.data.readers.dicom_claims import check_deflated
from monai_ddfm.data.readers.dicom_contrast import shows_anatomy
from monai_ddfm.data.readers.dicom_files import looks_like_dicom
from monai_ddfm.data.readers.dicom_series import GRID_TAGS, joined
from monai_ddfm.data.readers.tags import text, texts, whole
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS
from monai_ddfm.utils.files import OWN_MANUFACTURER

__all__ = ["find_in_dicom"]

_MOVING = {code: name for name, row in ROWS.items() if name != "MR" for code in row.codes}
_TAGS = [
    "PatientID",
    "IssuerOfPatientID",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "ComplexImageComponent",
    "Manufacturer",
    "ImagePositionPatient",
    *GRID_TAGS,
]
_LEAST_SLICES = 2


@dataclass
class _Series:
    """What the headers of a series say."""

    patient: str
    study: str
    when: str
    modality: str
    number: str
    description: str
    pixels: int
    files: list[str] = field(default_factory=list)
    slices: int = 0
    localizers: int = 0
    phases: int = 0
    headers: list[Dataset] = field(default_factory=list)

    def keep(self, header: Dataset) -> None:
        """Keep a header until two of them show that the series is more than one slice."""
        if len({texts(one, "ImagePositionPatient") for one in self.headers}) < 2:
            self.headers.append(header)

    def fits(self, wanted: str) -> bool:
        plain = wanted.casefold()
        return plain == self.number or plain in self.description.casefold()


def find_in_dicom(
    root: Path,
    selection: Selection,
    *,
    labels: Mapping[str, str],
    outside: Sequence[Path] = (),
) -> Finding:
    """Find the cases of a tree of DICOM files.

    Args:
        root: the folder, searched with its subfolders.
        selection: what is wanted.
        labels: label by patient, as an earlier run gave them.
        outside: folders that hold no sources, such as the one for the results.

    Raises:
        InputError: there are no DICOM images, or a wanted participant is not there.
    """
    series, unreadable = _scan(root, outside)
    if not series:
        what = "only unreadable files" if unreadable else "no DICOM images, no BIDS names"
        raise InputError(
            f"{root} holds nothing to fuse ({what}); give a BIDS data set, a tree of DICOM "
            "studies or a CSV file of pairs."
        )
    patients: dict[str, dict[str, _Series]] = defaultdict(dict)
    for uid, one in series.items():
        patients[one.patient][uid] = one
    given = _numbered(patients, labels)
    if missing := sorted(set(selection.participants) - {given[name] for name in patients}):
        raise InputError(
            f"{root} has no images of sub-{missing[0]}; correct --participant-label (patients are "
            f"numbered sub-0001 to sub-{len(given):04d})."
        )
    cases: list[Case] = []
    problems: list[Problem] = []
    notes = [f"{unreadable} damaged DICOM files are left out"] if unreadable else []
    for patient, own in sorted(patients.items(), key=lambda item: given[item[0]]):
        label = given[patient]
        if selection.participants and label not in selection.participants:
            continue
        if not patient:
            count = sum(len(one.files) for one in own.values())
            problems.append(Problem(label_of(label), f"{count} images name no patient; mend them"))
            continue
        found = pair(
            label,
            _candidates(own, selection),
            selection,
            is_dicom=True,
            choose="choose with --fixed-series or --moving-series, or remove one",
        )
        cases += found[0]
        problems += found[1]
        notes += found[2]
    return Finding("DICOM", root, cases, problems, notes, given)


def _scan(root: Path, outside: Sequence[Path]) -> tuple[dict[str, _Series], int]:
    """Read the headers of all images; returns series by UID, and how many files are damaged."""
    series: dict[str, _Series] = {}
    damaged = 0
    for path in _files(root, outside):
        if not looks_like_dicom(path):
            continue
        try:
            check_deflated(path)
            header = pydicom.dcmread(
                path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS)
            )
        except Exception:  # what a damaged file raises is not documented
            damaged += 1
            continue
        uid, rows, columns = (
            text(header, "SeriesInstanceUID"),
            whole(header, "Rows"),
            whole(header, "Columns"),
        )
        own = text(header, "Manufacturer") == OWN_MANUFACTURER
        if not uid or rows <= 0 or columns <= 0 or own:
            continue
        patient = "\n".join((text(header, "PatientID"), text(header, "IssuerOfPatientID"))).strip()
        one = series.setdefault(
            uid,
            _Series(
                patient=patient,
                study=text(header, "StudyInstanceUID"),
                when=text(header, "StudyDate") + text(header, "StudyTime"),
                modality=text(header, "Modality").upper(),
                number=text(header, "SeriesNumber"),
                description=text(header, "SeriesDescription"),
                pixels=rows * columns,
            ),
        )
        one.files.append(str(path))
        one.slices += max(1, whole(header, "NumberOfFrames", 1))
        one.localizers += "LOCALIZER" in {t.upper() for t in texts(header, "ImageType")}
        one.phases += not shows_anatomy(header)
        one.keep(header)
    return _joined(series), damaged


def _joined(series: dict[str, _Series]) -> dict[str, _Series]:
    """Put slices that have a series each together."""
    groups, _ = joined({uid: one.headers for uid, one in series.items()})
    for first, *others in groups:
        for uid in others:
            other = series.pop(uid)
            series[first].files += other.files
            series[first].slices += other.slices
    for one in series.values():
        one.headers.clear()  # a study of many files would fill the memory
    return series


def _files(root: Path, outside: Sequence[Path]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); correct its permissions."
        ) from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(f for f in folders if Path(folder, f) not in outside)
        for name in sorted(names):
            path = Path(folder, name)
            # Opening what is no ordinary file may wait forever.
            if not name.startswith(".") and path.is_file():
                yield path


def _numbered(patients: Mapping[str, object], labels: Mapping[str, str]) -> dict[str, str]:
    given = dict(labels)
    last = max((int(label) for label in given.values()), default=0)
    for patient in sorted(set(patients) - set(given)):
        last += 1
        given[patient] = f"{last:04d}"
    return given


def _candidates(series: Mapping[str, _Series], selection: Selection) -> list[Candidate]:
    """Return what may be paired; studies of a patient are numbered by date where they differ."""
    wanted = {"MR": selection.fixed_series, "": selection.moving_series}
    whole_ones = {
        uid: one
        for uid, one in series.items()
        if one.slices >= _LEAST_SLICES
        and one.localizers < len(one.files)
        and one.phases < len(one.files)
    }
    kept = {
        uid: one
        for uid, one in whole_ones.items()
        if (one.modality == "MR" or one.modality in _MOVING)
        and (not (name := wanted["MR" * (one.modality == "MR")]) or name == uid or one.fits(name))
    }
    moving_studies = {one.study for one in kept.values() if one.modality in _MOVING}
    studies = {one.study: one.when for one in kept.values()}
    order = sorted(studies, key=lambda study: (studies[study], study))
    several = len(moving_studies) > 1
    names = {study: f"{i:02d}" if several else "" for i, study in enumerate(order, start=1)}
    return [
        Candidate(
            session=names[one.study],
            kind="MRI" if one.modality == "MR" else _MOVING[one.modality],
            files=tuple(sorted(one.files)),
            name=f"series {one.number or '?'}, {one.slices} slices",
            voxels=one.pixels * one.slices,
        )
        for uid, one in sorted(kept.items())
    ]
