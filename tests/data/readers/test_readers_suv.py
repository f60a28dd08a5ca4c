"""Standardized uptake values against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import dicom_makers as make
import numpy as np
import pytest
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.suv import pet_scaling
from monai_ddfm.data.readers.tags import instant
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.utils.reports import reports_of

HALF_LIFE = 6586.2  # F-18, seconds
WEIGHT, DOSE = 70.0, 3.0e8


def header(**tags: object) -> Dataset:
    """A whole-body FDG scan: injected at 10:00, series and first acquisition at 11:00."""
    tracer = make.item(
        RadionuclideTotalDose=DOSE,
        RadionuclideHalfLife=HALF_LIFE,
        RadiopharmaceuticalStartTime="100000",
    )
    values = {
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "PatientWeight": WEIGHT,
        "SeriesDate": "20240305",
        "SeriesTime": "110000",
        "AcquisitionDate": "20240305",
        "AcquisitionTime": "110000.00",
        "RadiopharmaceuticalInformationSequence": [tracer],
    }
    for keyword, value in {**values, **tags}.items():
        target = tracer if keyword.startswith("Radio") and "Sequence" not in keyword else None
        if value is None:
            (values if target is None else tracer).pop(keyword, None)
        elif target is None:
            values[keyword] = value
        else:
            setattr(target, keyword, value)
    return make.item(**values)


def factor(hours: float) -> float:
    """Bq/ml to SUV, `hours` after the injection."""
    return WEIGHT * 1000 / (DOSE * 0.5 ** (hours * 3600 / HALF_LIFE))


def remaining_activity(seconds: float) -> float:
    """Mean activity over a frame, as a share of that at its start, by quadrature."""
    middles = (np.arange(100_000) + 0.5) * seconds / 100_000
    return float((0.5 ** (middles / HALF_LIFE)).mean())


def scaled(dataset: Dataset, first: str = "20240305110000") -> float:
    result = pet_scaling(dataset, first=instant(first))
    assert result.units == "SUVbw", result.explanation
    return result.factor


def test_decay_corrected_to_the_start() -> None:
    assert scaled(header()) == pytest.approx(factor(1), rel=1e-12)
    # The number itself: 70 kg, 300 MBq, one hour of F-18.
    assert scaled(header()) == pytest.approx(3.408e-4, rel=1e-3)


def test_decay_corrected_to_the_injection() -> None:
    assert scaled(header(DecayCorrection="ADMIN")) == pytest.approx(WEIGHT * 1000 / DOSE)


def test_later_beds_refer_to_the_same_start() -> None:
    late = header(AcquisitionTime="112500")
    assert scaled(late) == pytest.approx(factor(1))


def test_series_time_of_a_later_processing_step() -> None:
    reprocessed = header(SeriesTime="153000")
    assert scaled(reprocessed) == pytest.approx(factor(1))
    # Frame reference times are reliable in all cases: the mean activity of a 10 min frame that
    # began 30 min after the start.
    average = -np.log(remaining_activity(600)) * HALF_LIFE / np.log(2)
    back = header(
        SeriesTime="153000",
        AcquisitionTime="113000",
        ActualFrameDuration=600000,
        FrameReferenceTime=float(1000 * (1800 + average)),
    )
    assert scaled(back, "20240305113000") == pytest.approx(factor(1), rel=1e-6)


def test_private_scan_time_of_ge() -> None:
    dataset = header(SeriesTime="153000")
    block = dataset.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240305105500.00")
    assert scaled(dataset) == pytest.approx(factor(55 / 60))


def test_not_decay_corrected() -> None:
    dataset = header(DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration=1200000)
    assert scaled(dataset) == pytest.approx(factor(1) / remaining_activity(1200), rel=1e-6)


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesTime": "003000", "AcquisitionTime": "003000"},
        {
            "SeriesTime": "003000",
            "AcquisitionTime": "003000",
            "RadiopharmaceuticalStartDateTime": "20240304233000.000",
        },
        # De-identified: the date of the injection was moved, the others were not.
        {
            "SeriesTime": "003000",
            "AcquisitionTime": "003000",
            "RadiopharmaceuticalStartDateTime": "19000101233000",
        },
        {"SeriesTime": "003000", "AcquisitionTime": "003000", "SeriesDate": None},
        {"SeriesTime": None, "AcquisitionTime": "003000"},
    ],
)
def test_injection_before_midnight(tags: dict[str, object]) -> None:
    dataset = header(RadiopharmaceuticalStartTime="233000", **tags)
    assert scaled(dataset, "20240305003000") == pytest.approx(factor(1))


def test_acquisition_after_midnight() -> None:
    dataset = header(
        RadiopharmaceuticalStartTime="225500",
        SeriesDate="20240305",
        SeriesTime="235500",
        AcquisitionDate="20240306",
        AcquisitionTime="000500",
    )
    assert scaled(dataset, "20240306000500") == pytest.approx(factor(1))
    undated = header(
        RadiopharmaceuticalStartTime="225500",
        SeriesTime="235500",
        AcquisitionDate=None,
        AcquisitionTime="000500",
    )
    assert scaled(undated, "20240305000500") == pytest.approx(factor(1))


def test_start_is_assumed_where_decay_is_listed() -> None:
    result = pet_scaling(header(DecayCorrection=None), first=None)
    assert result.factor == pytest.approx(factor(1))
    assert "assumed" in result.explanation


def test_counts_of_philips_become_suv_by_their_private_factor() -> None:
    dataset = header(Units="CNTS")
    assert pet_scaling(dataset, first=None).units == "counts"
    block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x09, "DS", "2.5")
    assert scaled(dataset) == pytest.approx(2.5 * factor(1))
    block.add_new(0x00, "DS", "0.0")
    assert scaled(dataset) == pytest.approx(2.5 * factor(1))
    block.add_new(0x00, "DS", "0.00125")
    assert scaled(dataset) == pytest.approx(0.00125)


def test_stored_as_suv() -> None:
    assert scaled(header(Units="GML")) == 1
    lean = pet_scaling(header(Units="GML", SUVType="LBM"), first=None)
    assert (lean.factor, lean.units) == (1, "SUVlbm")


def test_enhanced_pet_says_when() -> None:
    dataset = header(
        Units=None,
        DecayCorrection=None,
        CorrectedImage=None,
        DecayCorrected="YES",
        DecayCorrectionDateTime="20240305120000",
    )
    result = pet_scaling(dataset, first=None, units="Bq/ml")
    assert (result.units, result.factor) == ("SUVbw", pytest.approx(factor(2)))


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"PatientWeight": None}, "PatientWeight is missing"),
        ({"PatientWeight": 70000}, "PatientWeight is 70000, which cannot be"),
        ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose is missing"),
        ({"RadionuclideTotalDose": 300}, "RadionuclideTotalDose is 300, which cannot be"),
        ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife is missing"),
        ({"RadiopharmaceuticalStartTime": None}, "RadiopharmaceuticalStartTime is missing"),
        ({"RadiopharmaceuticalInformationSequence": None}, "RadionuclideTotalDose is missing"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "AcquisitionTime are missing"),
        ({"DecayCorrection": None, "CorrectedImage": None}, "DecayCorrection is missing"),
        ({"CorrectedImage": ["DECY"]}, "not attenuation corrected"),
    ],
)
def test_what_is_missing_is_named(tags: dict[str, object], word: str) -> None:
    result = pet_scaling(header(**tags), first=None)
    assert (result.factor, result.units, result.relative) == (1, "Bq/ml", True)
    assert word in result.explanation


def test_other_units_stay() -> None:
    assert pet_scaling(header(Units="PROPCPS"), first=None).relative
    nothing = pet_scaling(header(Units=None), first=None)
    assert (nothing.units, nothing.relative) == ("relative", True)
    assert "Units are missing" in nothing.explanation


# ------------------------------------------------------------------------ through the reader


def pet_series(folder: Path, pixels: np.ndarray, **tags: object) -> Path:
    dataset = header(**tags)
    elements = {e.keyword: e.value for e in dataset}
    return make.series(
        folder, pixels, modality="PT", RescaleSlope=2.0, RescaleIntercept=0, **elements
    )


def test_volume_in_suv(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 30000, (5, 6, 7), dtype=np.int16)
    volume = LoadVolume(modality="PET")(pet_series(tmp_path, pixels, SpatialResolution="6.5"))
    np.testing.assert_allclose(volume[0].numpy(), pixels.T * 2.0 * factor(1), rtol=1e-6)
    assert volume.meta["units"] == "SUVbw"
    assert reports_of(volume)["reading"]["resolution_mm"] == 6.5
    suv = reports_of(volume)["reading"]["suv"]
    assert suv["decay_s"] == 3600
    assert suv["factor"] == pytest.approx(factor(1))
    assert suv["weight_kg"] == WEIGHT


def test_volume_without_weight_is_relative_and_explained(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 30000, (5, 6, 7), dtype=np.int16)
    volume = LoadVolume(modality="PET")(pet_series(tmp_path, pixels, PatientWeight=None))
    np.testing.assert_allclose(volume[0].numpy(), pixels.T * 2.0)
    report = reports_of(volume)["reading"]
    assert volume.meta["units"] == "Bq/ml"
    assert report["relative"] is True
    assert "PatientWeight" in report["suv"]["reason"]


def test_slices_in_different_units(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 30000, (5, 6, 7), dtype=np.int16)
    folder = pet_series(tmp_path, pixels)
    one = next(folder.iterdir())
    dataset = make.reread(one)
    del dataset.PatientWeight
    dataset.save_as(one)
    with pytest.raises(InputError, match="mixes images in"):
        LoadVolume()(folder)
