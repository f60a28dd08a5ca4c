"""Forty ways in which headers tell, garble or conceal what an SUV needs.

The right factor is computed by `suv_by_hand` from what happened; where the header does not allow
one, the values stay what they are and the reason is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dicom_makers as make
import numpy as np
import pytest
from pydicom.dataset import Dataset
from suv_by_hand import C11, CU64, F18, GA68, O15, ZR89, Happened

from monai_ddfm.data.readers.suv import acquired_at, activity_doubts, pet_scaling
from monai_ddfm.data.readers.tags import UnreadableError

INJECTED = "RadiopharmaceuticalStartTime"
INJECTED_AT = "RadiopharmaceuticalStartDateTime"
ZONE = "TimezoneOffsetFromUTC"


@dataclass(frozen=True)
class Header:
    """A variant of a header.

    Attributes:
        what: is special about it.
        changes: elements by keyword; None leaves one out.
        happened: what it stands for; None if it does not allow an SUV.
        told: part of the explanation, of the reason where there is no SUV.
        units: of a real-world value mapping.
    """

    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    happened: Happened | None = field(default_factory=Happened)
    told: str = ""
    units: str = ""


def dataset(changes: dict[str, Any]) -> Dataset:
    """18F-FDG: 300 MBq at 10:00, 70 kg; series and first acquisition at 11:00 on the same day."""
    tracer = {
        "RadionuclideTotalDose": "300000000",
        "RadionuclideHalfLife": "6586.2",
        INJECTED: "100000.00",
    }
    header = {
        "Units": "BQML",
        "CorrectedImage": "DECY\\ATTN\\SCAT",
        "DecayCorrection": "START",
        "PatientWeight": "70",
        "SeriesDate": "20240305",
        "SeriesTime": "110000",
        "AcquisitionDate": "20240305",
        "AcquisitionTime": "110000.00",
    }
    for keyword, value in changes.items():
        (tracer if keyword.startswith(("Radio", "Radionuclide")) else header)[keyword] = value
    made, inner = Dataset(), Dataset()
    for target, elements in ((inner, tracer), (made, header)):
        for keyword, value in elements.items():
            if isinstance(value, str):
                make.force(target, keyword, value)
            elif value is not None:
                setattr(target, keyword, value)
    made.RadiopharmaceuticalInformationSequence = [inner]
    return made


def at(injected: str, referred: str, **other: Any) -> Happened:
    return Happened(f"2024-03-{injected}:00+00:00", f"2024-03-{referred}:00+00:00", **other)


def half_life(seconds: float) -> dict[str, str]:
    return {"RadionuclideHalfLife": f"{seconds}"}


def nuclide(code: str) -> list[Dataset]:
    named = Dataset()
    named.CodeValue = code
    return [named]


HEADERS = [
    # --- numbers
    Header("plain"),
    Header("weight with a decimal comma", {"PatientWeight": "70,5"}, Happened(weight_kg=70.5)),
    Header(
        "dose with a decimal comma",
        {"RadionuclideTotalDose": "300000000,0"},
    ),
    Header(
        "half-life with a decimal comma",
        {"RadionuclideHalfLife": "4057,7"},
        Happened(half_life=GA68),
    ),
    Header("weight with a unit", {"PatientWeight": "70 kg"}, None, "PatientWeight is '70 kg'"),
    Header("weight that may be thousands", {"PatientWeight": "1,070"}, None, "'1,070'"),
    Header("weight of zero", {"PatientWeight": "0"}, None, "PatientWeight is 0, which cannot be"),
    Header("weight missing", {"PatientWeight": None}, None, "PatientWeight is missing"),
    Header("weight empty", {"PatientWeight": ""}, None, "PatientWeight is missing"),
    Header("weight in grams", {"PatientWeight": "70000"}, None, "PatientWeight is 70000"),
    Header("dose no number", {"RadionuclideTotalDose": "nan"}, None, "RadionuclideTotalDose is"),
    Header("dose in MBq", {"RadionuclideTotalDose": "300"}, None, "is 300, which cannot be"),
    Header(
        "half-life no number",
        {"RadionuclideHalfLife": "F18"},
        None,
        "HalfLife holds text that is no usable value",
    ),
    Header(
        "dose with an exponent",
        {"RadionuclideTotalDose": "3.7E+08"},
        Happened(dose_mbq=370.0),
    ),
    # --- offsets from UTC
    Header(
        "injection in UTC, scanner two hours ahead",
        {INJECTED_AT: "20240305080000.00+0000", INJECTED: None, ZONE: "+0200"},
        Happened("2024-03-05T08:00:00+00:00", "2024-03-05T11:00:00+02:00"),
    ),
    Header(
        "injection in UTC, scanner five hours behind",
        {INJECTED_AT: "20240305150000+0000", INJECTED: None, ZONE: "-0500"},
        Happened("2024-03-05T15:00:00+00:00", "2024-03-05T11:00:00-05:00"),
    ),
    Header(
        "injection with the scanner's own offset",
        {INJECTED_AT: "20240305100000+0100", INJECTED: None, ZONE: "+0100"},
    ),
    Header(
        "acquisition in UTC as well",
        {
            INJECTED_AT: "20240305083000+0000",
            INJECTED: None,
            ZONE: "+0200",
            "SeriesTime": "200000",
            "AcquisitionDateTime": "20240305090000.000000+0000",
        },
        Happened("2024-03-05T08:30:00+00:00", "2024-03-05T09:00:00+00:00"),
    ),
    Header(
        "both with offsets, no zone of the scanner",
        {
            INJECTED_AT: "20240305080000+0000",
            INJECTED: None,
            "SeriesDate": None,
            "SeriesTime": None,
            "AcquisitionDateTime": "20240305110000+0200",
        },
        Happened("2024-03-05T08:00:00+00:00", "2024-03-05T11:00:00+02:00"),
    ),
    Header(
        "offset of the injection alone",
        {INJECTED_AT: "20240305100000+0100", INJECTED: None},
        told="has an offset from UTC and the scan has none",
    ),
    Header(
        "decay correction in UTC",
        {"DecayCorrectionDateTime": "20240305093000+0000", ZONE: "+0200"},
        Happened("2024-03-05T10:00:00+02:00", "2024-03-05T11:30:00+02:00"),
    ),
    Header("offset that is none", {ZONE: "+9900"}, None, "TimezoneOffsetFromUTC is '+9900'"),
    # --- before and after
    Header(
        "scan ten seconds before the injection, F-18",
        {INJECTED: "110010"},
        Happened("2024-03-05T11:00:10+00:00"),
    ),
    Header(
        "scan ten seconds before the injection, O-15",
        {INJECTED: "110010", **half_life(O15)},
        Happened("2024-03-05T11:00:10+00:00", half_life=O15),
    ),
    Header(
        "scan ten seconds before the injection, Cu-64",
        {INJECTED_AT: "20240305110010", INJECTED: None, **half_life(CU64)},
        Happened("2024-03-05T11:00:10+00:00", half_life=CU64),
    ),
    Header(
        "scan a minute before the injection, Zr-89",
        {INJECTED_AT: "20240305110100", INJECTED: None, **half_life(ZR89)},
        Happened("2024-03-05T11:01:00+00:00", half_life=ZR89),
    ),
    Header(
        "Zr-89 six days later",
        {INJECTED_AT: "20240228110000", INJECTED: None, **half_life(ZR89)},
        Happened("2024-02-28T11:00:00+00:00", half_life=ZR89),
    ),
    Header(
        "Zr-89 injected after the scan",
        {INJECTED_AT: "20240306100000", INJECTED: None, **half_life(ZR89)},
        None,
        "-23.0 hours before the scan, which is implausible",
    ),
    Header(
        "Cu-64 with a date of another century",
        {INJECTED_AT: "19000101100000", **half_life(CU64)},
        None,
        "implausible",
    ),
    Header(
        "F-18 with a date of another century",
        {INJECTED_AT: "19000101100000"},
        told="the date of the injection is implausible; its time of day is used",
    ),
    Header(
        "Zr-89 without a date",
        half_life(ZR89),
        Happened(half_life=ZR89),
        "the day of the scan is assumed",
    ),
    Header(
        "across midnight",
        {INJECTED: "233000", "SeriesTime": "003000", "AcquisitionTime": "003000"},
        at("04T23:30", "05T00:30"),
    ),
    Header(
        "two times of the injection that differ",
        {INJECTED_AT: "20240305093000"},
        at("05T09:30", "05T11:00"),
        "its time of day differs by 1800 s",
    ),
    Header("an F-18 scan of the next day", {INJECTED: "120000"}, None, "are implausible"),
    # --- times that are none
    Header("injection at 25 o'clock", {INJECTED: "250000"}, None, f"{INJECTED} is '250000'"),
    Header("injection without a leading zero", {INJECTED: "93000"}, None, "is '93000'"),
    Header(
        "injection at noon in words",
        {INJECTED: "noon"},
        None,
        "StartTime holds text that is no usable value",
    ),
    Header("series time that is none", {"SeriesTime": "11h"}, None, "SeriesTime is '11h'"),
    Header(
        "acquisition time that is none",
        {"AcquisitionTime": "xx"},
        None,
        "AcquisitionTime holds text that is no usable value",
    ),
    Header("times with colons", {INJECTED: "10:00:00", "SeriesTime": "11:00:00"}),
    Header("time with a decimal comma", {INJECTED: "100000,00"}),
    # --- corrections and units
    Header(
        "corrected to the injection",
        {"DecayCorrection": "ADMIN", INJECTED: None},
        at("05T10:00", "05T10:00"),
    ),
    Header(
        "not corrected, C-11, ten minutes",
        {
            "DecayCorrection": "NONE",
            "CorrectedImage": "ATTN",
            "ActualFrameDuration": "600000",
            **half_life(C11),
        },
        Happened(half_life=C11, frame_s=600.0),
    ),
    Header(
        "start, although no decay correction is listed",
        {"CorrectedImage": "ATTN"},
        told="DecayCorrection is START, but CorrectedImage does not list DECY",
    ),
    Header(
        "none, although decay correction is listed",
        {"DecayCorrection": "NONE"},
        told="CorrectedImage lists DECY",
    ),
    Header(
        "a decay correction of its own",
        {"DecayCorrection": "LATER"},
        None,
        "DecayCorrection is not one that DICOM defines",
    ),
    Header("no attenuation correction", {"CorrectedImage": "DECY"}, None, "not attenuation"),
    Header(
        "half-life of another nuclide",
        half_life(GA68) | {"RadionuclideCodeSequence": nuclide("C-111A1")},
        Happened(half_life=GA68),
        "RadionuclideHalfLife is 4057.7 s, where F-18, which the header names, has 6586 s",
    ),
    Header(
        "half-life of the nuclide",
        half_life(GA68) | {"RadionuclideCodeSequence": nuclide("35337001")},
        Happened(half_life=GA68),
    ),
    Header("mapping to kBq/ml", {"Units": "CNTS"}, Happened(kbq=True), units="kBq/ml"),
]


def test_there_are_forty_different_headers() -> None:
    assert len({header.what for header in HEADERS}) == len(HEADERS) >= 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.what.replace(" ", "-"))
def test_a_header_gives_the_factor_of_what_happened_or_says_why_not(header: Header) -> None:
    made = dataset(header.changes)
    try:
        first = acquired_at(made)
    except UnreadableError:
        first = None
    result = pet_scaling(made, first=first, units=header.units)
    assert header.told in result.explanation
    if header.happened is None:
        assert (result.units, result.factor) == ("Bq/ml", 1.0)
        assert "no SUV, because" in result.explanation
    else:
        assert result.units == "SUVbw", result.explanation
        assert result.factor == pytest.approx(header.happened.factor(), rel=1e-9)
        assert bool(result.explanation) is bool(header.told)


@pytest.mark.parametrize(
    ("dose", "told"),
    [
        (3e8, ""),
        (3e5, "hold 183 times the activity that was injected"),  # in kBq
        (1e12, "no voxel reaches an SUV"),
    ],
)
def test_activity_is_conserved(dose: float, told: str) -> None:
    """A brain of 1.5 l at 25 kBq/ml, an hour after 300 MBq of F-18."""
    made = dataset({"RadionuclideTotalDose": f"{dose:g}"})
    scaling = pet_scaling(made, first=acquired_at(made))
    voxel_ml, activity = 0.125, np.zeros((1, 40, 40, 40), np.float32)
    activity[:, :30, :20, :20] = 25_000.0
    held = activity.sum(dtype=float) * voxel_ml / (dose * 2 ** (-3600 / F18))
    assert (held > 1.5) == (dose < 1e6)
    said = activity_doubts(activity * np.float32(scaling.factor), voxel_ml, scaling)
    assert told in "".join(said) if told else said == []
    if dose < 1e6:
        assert f"hold {held:.3g} times" in said[0]
