"""Patient and study of the new objects: those of the MRI, those that were given, or unknown ones.

An unknown patient is called so, but every run's has an ID of its own: an archive that saw one ID
twice would take both for one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from monai_ddfm.data.readers.tags import item as first_item
from monai_ddfm.data.readers.tags import text
from monai_ddfm.data.writers.dicom.sources import SourceSeries
from monai_ddfm.data.writers.dicom.uids import Uids
from monai_ddfm.data.writers.dicom.values import copied_code, copy, line
from monai_ddfm.errors import InputError

__all__ = ["Patient", "describe_patient"]

_FIELDS = ("name", "id", "birth_date", "sex")
_SEXES = ("M", "F", "O")
_METHOD = ["monai_ddfm: technical attributes kept, UIDs replaced", "dates removed", "faces kept"]
_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
)
_STUDY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)


@dataclass(frozen=True)
class Patient:
    """What a user says about the patient.

    Attributes:
        name: in DICOM's form, ``FAMILY^GIVEN``.
        id: the PatientID.
        birth_date: ``YYYYMMDD``, or with dashes.
        sex: M, F or O.
    """

    name: str = ""
    id: str = ""
    birth_date: str = ""
    sex: str = ""
    given: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> Patient:
        """Check what a user says.

        Args:
            options: some of ``name``, ``id``, ``birth_date`` and ``sex``; None values are absent.

        Raises:
            InputError: a field is unknown, or its value is not of its kind.
        """
        options = {key: str(value) for key, value in (options or {}).items() if value is not None}
        if unknown := sorted(set(options) - set(_FIELDS)):
            raise InputError(f"the patient has no field {unknown[0]!r}; use {', '.join(_FIELDS)}.")
        source = Dataset()
        for keyword, name in zip(("PatientName", "PatientID"), ("name", "id"), strict=True):
            setattr(source, keyword, line(options.get(name, "")))
        if source.PatientName and not {"^", "="} & set(str(source.PatientName)):
            source.PatientName = f"{source.PatientName}^"  # one component alone is a retired form
        sex = options.get("sex", "").strip().upper()
        if sex not in ("", *_SEXES):
            raise InputError(f"the patient's sex {options['sex']!r} is unknown; use M, F or O.")
        born = options.get("birth_date", "")
        source.PatientBirthDate = ""
        checked = Dataset()
        if born:
            source.add_new("PatientBirthDate", "DA", born.replace("-", ""))
            copy(checked, source, "PatientBirthDate")
            if "PatientBirthDate" not in checked:
                raise InputError(f"the birth date {born!r} is no date; write it as 1970-12-31.")
            born = str(checked.PatientBirthDate)
        return cls(str(source.PatientName), str(source.PatientID), born, sex, tuple(options))


def describe_patient(
    sources: SourceSeries | None, patient: Patient, uids: Uids, *, deidentify: bool
) -> Dataset:
    """Return the elements of patient and study that all objects of a run share.

    Args:
        sources: the MRI's series, None if it did not come from DICOM.
        patient: what the user says.
        uids: names of the run.
        deidentify: keep nothing of the sources.

    Raises:
        InputError: the user names a patient although the MRI's header does.
    """
    base = Dataset()
    header = None if deidentify or sources is None else sources.header
    if patient.given and header is not None:
        raise InputError(
            "The MRI's DICOM header names the patient already; leave the patient options out, or "
            "de-identify the output."
        )
    for keyword in (*_PATIENT, *_STUDY):
        copy(base, header, keyword, empty=keyword in _REQUIRED)
    if base.PatientSex not in _SEXES:
        base.PatientSex = ""
    if header is None:
        unknown = f"{'ANONYMOUS' if deidentify else 'UNKNOWN'}-{str(uids('patient'))[-8:]}"
        base.PatientName = patient.name or ("ANONYMOUS^" if deidentify else "UNKNOWN^")
        base.PatientID = patient.id or unknown
        base.PatientBirthDate, base.PatientSex = patient.birth_date, patient.sex
    study = text(sources.header, "StudyInstanceUID") if sources is not None else ""
    base.StudyInstanceUID = uids.source(study) or uids("study")
    if deidentify:
        base.PatientIdentityRemoved = "YES"
        base.DeidentificationMethod = _METHOD
        base.LongitudinalTemporalInformationModified = "REMOVED"
    else:
        _keep_deidentification(base, header)
    return base


def _keep_deidentification(base: Dataset, header: Dataset | None) -> None:
    """Keep the note that the sources had been de-identified before."""
    if text(header, "PatientIdentityRemoved").upper() != "YES":
        return
    copy(base, header, "DeidentificationMethod")
    method = copied_code(first_item(header, "DeidentificationMethodCodeSequence"))
    if method is not None:
        base.DeidentificationMethodCodeSequence = [method]
    if "DeidentificationMethod" in base or method is not None:
        base.PatientIdentityRemoved = "YES"
