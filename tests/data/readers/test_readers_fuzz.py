"""Damaged DICOM headers end in a sound volume or in an InputError, never in another error."""

from __future__ import annotations

import shutil
from pathlib import Path

import dicom_makers as make
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_checks import load_or_refuse, noise

# ---------------------------------------------------------------------------------------- fuzz


def original(folder: Path, form: str) -> Path:
    """Write a sound series to damage."""
    shutil.rmtree(folder / "fuzz", ignore_errors=True)
    target = folder / "fuzz"
    if form == "series":
        make.series(target, noise(4, 6, 7), modality="PT", Units="BQML", PatientWeight=70)
    elif form == "enhanced":
        make.enhanced(
            target / "00000.dcm", noise(4, 6, 7), np.array([[0.0, 0, 2 * k] for k in range(4)])
        )
    else:
        make.nuclear(target / "00000.dcm", noise(4, 6, 7))
    return target


def fuzz(folder: Path, form: str, changes: list[tuple[int, int]], cut: int, only: int) -> None:
    target = original(folder, form)
    for victim in sorted(target.iterdir())[only:]:
        data = bytearray(victim.read_bytes())
        for where, what in changes:
            data[132 + where % (len(data) - 132)] = what
        victim.write_bytes(bytes(data[: len(data) - cut]))
    load_or_refuse(target, named="fuzz")


STRANGE = ["", "0", "-1", "nan", "inf", "1e308", "-7.5", "99999999999", "a\\b", "ü", "1\\2\\3"]
TOUCHED = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "SamplesPerPixel",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceVector",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelPaddingValue",
    "InstanceNumber",
    "ImageType",
    "Modality",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Units",
    "AcquisitionTime",
    "SeriesTime",
    "FrameReferenceTime",
    "PatientID",
    "SpecificCharacterSet",
    "PerFrameFunctionalGroupsSequence",
    "DetectorInformationSequence",
    "RadiopharmaceuticalInformationSequence",
]


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    form=st.sampled_from(["series", "enhanced", "nuclear"]),
    changes=st.dictionaries(
        st.sampled_from(TOUCHED), st.sampled_from(STRANGE), min_size=1, max_size=3
    ),
    only=st.sampled_from([0, -1]),
)
def test_strange_values(tmp_path: Path, form: str, changes: dict[str, str], only: int) -> None:
    target = original(tmp_path, form)
    for victim in sorted(target.iterdir())[only:]:
        dataset = make.reread(victim)
        for keyword, value in changes.items():
            make.force(dataset, keyword, value)
        dataset.save_as(victim, enforce_file_format=True)
    load_or_refuse(target, named="fuzz")


fuzzed = given(
    form=st.sampled_from(["series", "enhanced", "nuclear"]),
    changes=st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), max_size=6),
    cut=st.sampled_from([0, 0, 0, 1, 60, 400]),
    only=st.sampled_from([0, -1]),
)
quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=quiet)
@fuzzed
def test_mutated_headers(
    tmp_path: Path, form: str, changes: list[tuple[int, int]], cut: int, only: int
) -> None:
    fuzz(tmp_path, form, changes, cut, only)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=2000, deadline=None, suppress_health_check=quiet)
@fuzzed
def test_many_mutated_headers(
    tmp_path: Path, form: str, changes: list[tuple[int, int]], cut: int, only: int
) -> None:
    fuzz(tmp_path, form, changes, cut, only)
