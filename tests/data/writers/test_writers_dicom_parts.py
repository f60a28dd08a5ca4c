"""Parts of the DICOM writer: numbers in 16 bits, strings, names, windows, units."""

from __future__ import annotations

import json
import resource

import numpy as np
import pydicom
import pytest
import torch
from dicom_fusions import demo, demo_case, errors_of, fusion_case
from dicom_makers import reread
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monai_ddfm.data.writers.dicom import SaveFusionDicomd
from monai_ddfm.data.writers.dicom.extra import need
from monai_ddfm.data.writers.dicom.images import stored, window_elements
from monai_ddfm.data.writers.dicom.uids import Uids
from monai_ddfm.data.writers.dicom.values import copied, decimal, line
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.utils.reports import reports_of

NUMBERS = st.floats(-1e9, 1e9, allow_subnormal=False)


@given(
    values=arrays(np.float64, st.integers(2, 40), elements=NUMBERS),
    signed=st.booleans(),
    slope=st.sampled_from([None, 1.0]),
)
def test_stored_values_are_off_by_half_a_step_at_most(values, signed, slope):
    kept = stored(values, signed=signed, slope=slope)
    assert kept.pixels.dtype.itemsize == 2
    back = kept.pixels * kept.slope + kept.intercept
    scale = max(np.abs(values).max(), 1e-300)
    assert np.abs(back - values).max() <= 0.5 * kept.slope * (1 + 1e-6) + 1e-9 * scale
    for number in (kept.slope, kept.intercept):
        assert len(str(decimal(number))) <= 16
        assert float(str(decimal(number))) == number
    if signed:
        assert kept.intercept == 0


@given(arrays(np.int32, 20, elements=st.integers(-1000, 60000)))
def test_whole_numbers_are_stored_as_they_are(values):
    kept = stored(values.astype(np.float32))
    np.testing.assert_array_equal(kept.pixels + kept.intercept, values)
    assert kept.slope == 1
    hounsfield = stored(values + 0.4, slope=1.0, lowest=-1024.0)
    assert (hounsfield.slope, hounsfield.intercept) == (1.0, -1024.0)


@given(NUMBERS)
def test_decimal_strings_fit_and_keep_their_digits(number):
    shown = str(decimal(number))
    assert len(shown) <= 16
    assert float(shown) == pytest.approx(number, rel=1e-8, abs=1e-300)


@given(st.text(max_size=200))
def test_lines_of_text_are_valid(text):
    for vr, longest in (("LO", 64), ("SH", 16)):
        shown = line(text, vr)
        assert len(shown) <= longest
        assert "\\" not in shown
        assert all(c.isprintable() for c in shown)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("StudyDate", "2024-01-15", "20240115"),
        ("StudyDate", "20240115", "20240115"),
        ("StudyDate", "15.1.2024", None),
        ("StudyTime", "09:30:00", "093000"),
        ("StudyTime", "25", None),
        ("BodyPartExamined", "head", "HEAD"),
        ("BodyPartExamined", "a, b", None),
        ("PatientAge", "54", None),
        ("StudyID", "x" * 30, "x" * 16),
        ("AcquisitionDateTime", "20240115", "20240115"),
    ],
)
def test_what_is_copied_is_valid_or_left_out(keyword, value, expected):
    with pydicom.config.disable_value_validation():
        header = pydicom.Dataset()
        setattr(header, keyword, value)
    assert copied(header, keyword) == expected
    assert copied(None, keyword) is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (-160.0, 240.0), (0.0, 25000.0), (3, 3)])
def test_windows_show_their_ends_black_and_white(low, high):
    window = window_elements(low, high)
    center, width = float(window["WindowCenter"]), float(window["WindowWidth"])
    if window["VOILUTFunction"] == "LINEAR":  # PS3.3 C.11.2.1.2.1
        ends = (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
    else:
        ends = (center - width / 2, center + width / 2)
    assert ends == pytest.approx((low, high if high > low else low + 1))
    assert width > 0


def test_names_are_valid_and_keep_apart_what_differs():
    uids = Uids.deterministic([np.arange(3), "a", None])
    assert uids("fused", 1) == Uids.deterministic([np.arange(3), "a", None])("fused", 1)
    others = [
        uids("fused", 2),
        Uids.deterministic([np.arange(3.0), "a", None])("fused", 1),
        Uids.deterministic([np.arange(3), "a"])("fused", 1),
        Uids.random()("fused", 1),
        Uids.random()("fused", 1),
    ]
    assert len({*others, uids("fused", 1)}) == 6
    assert all(name.is_valid for name in others)
    assert uids.source("1.2.3") == "1.2.3"
    assert uids.source("1.02.3") == ""
    hidden = Uids.random(replace=True)
    assert hidden.source("1.2.3") == hidden.source("1.2.3") not in ("1.2.3", "")
    assert hidden.source("1.2.840.10008.1.2") == "1.2.840.10008.1.2"


def test_a_missing_package_is_named_with_the_extra():
    with pytest.raises(InputError, match=r"no_such_thing is needed .*pip install .*\[dicom\]"):
        need("no_such_thing", "to write DICOM")


@pytest.mark.parametrize("change", ["NONE", "private"])
def test_the_suv_survives_whatever_it_is_computed_from(tmp_path, change):
    folder = tmp_path / "pet"
    folder.mkdir()
    for path in demo("PET").moving_dicom.glob("*.dcm"):
        dataset = reread(path)
        if change == "NONE":  # every frame has a factor of its own
            dataset.DecayCorrection = "NONE"
            dataset.AcquisitionTime = f"10{int(dataset.InstanceNumber):02d}00"
        else:  # GE: the series' time is that of a later step, the scan's time is private
            dataset.SeriesTime = "120000"
            block = dataset.private_block(0x0009, "GEMS_PETD_01", create=True)
            block.add_new(0x0D, "DT", "20240115095000")
        dataset.save_as(folder / path.name, enforce_file_format=True)
    case = fusion_case(demo("PET").fixed_dicom, folder, modality="PET")
    assert case["moving"].meta["units"] == "SUVbw"
    SaveFusionDicomd(tmp_path, modality="PET")(case)
    made = tmp_path / "dicom" / "moving_registered"
    dataset = pydicom.dcmread(made / "0001.dcm")
    if change == "private":
        assert (dataset.Units, dataset.SUVType) == ("GML", "BW")
    again = LoadVolume(modality="PET")(made)
    torch.testing.assert_close(
        again.as_tensor(), case["moving"].as_tensor(), atol=3e-4, rtol=0, check_dtype=False
    )
    assert errors_of([made / "0001.dcm"]) == {}


def test_a_volume_that_does_not_fit_is_a_fault_and_leaves_nothing(tmp_path):
    case = demo_case("CT")
    for key, wrong in (("weight", case["weight"] * float("nan")), ("fused", case["fused"][:, 1:])):
        with pytest.raises(ValueError, match=key):
            SaveFusionDicomd(tmp_path, modality="CT")({**case, key: wrong})
    assert list(tmp_path.iterdir()) == []


def test_a_killed_or_full_disk_leaves_what_was_there(tmp_path):
    save = SaveFusionDicomd(tmp_path, modality="CT")
    save(demo_case("CT"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limit[1]))  # the weight map is larger
    try:
        with pytest.raises(InputError, match="Cannot write"):
            SaveFusionDicomd(tmp_path, modality="PET")(demo_case("PET"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_second_run_replaces_the_first_and_nothing_else(tmp_path):
    SaveFusionDicomd(tmp_path, modality="PET")(demo_case("PET"))
    (tmp_path / "dicom" / "fused" / "mine.txt").write_text("kept")
    (tmp_path / "dicom" / "fused" / "9999.dcm").write_text("of an older, larger run")
    result = SaveFusionDicomd(tmp_path, modality="CT")(demo_case("CT"))["dicom"]
    assert not (tmp_path / "dicom" / "fused_rgb").exists()
    assert not (tmp_path / "dicom" / "fused" / "9999.dcm").exists()
    assert (tmp_path / "dicom" / "fused" / "mine.txt").read_text() == "kept"
    index = json.loads((tmp_path / "dicom" / "index.json").read_text())
    assert index["series"] == result["series"]
    assert index["notice"] == "research use only - not for diagnosis"
    found = {d.SeriesInstanceUID for d in map(pydicom.dcmread, tmp_path.rglob("*.dcm"))}
    assert found == {series["uid"] for series in index["series"].values()}
    assert reports_of(demo_case("CT")["fused"])["dicom"]["series"] == index["series"]
