"""Situations in DICOM: numbers that cannot be read, and images of several kinds in a series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_makers as make
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from situation_rows import Row

CT = {"modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
PET = {"modality": "PT", "Units": "BQML", "RescaleSlope": 2, "RescaleIntercept": 0}
RELATIVE = "relative and not HU"


def pixels(count: int = 6, high: int = 3000) -> np.ndarray:
    """[count, 8, 10] from 1 on."""
    return np.random.default_rng(count).integers(1, high, (count, 8, 10), dtype=np.int16)


def series(
    *changes: Callable[[Dataset, int], None],
    slope: float = 1.0,
    intercept: float = 0.0,
    expected: bool = True,
    **tags: Any,
) -> Any:
    """A series whose stored values become, by hand, `slope` and `intercept`."""

    def made(folder: Path) -> Any:
        stored = pixels()

        def change(dataset: Dataset, k: int) -> None:
            for one in changes:
                one(dataset, k)

        path = make.series(folder, stored, change=change, **tags)
        return (path, stored.T * slope + intercept) if expected else path

    return made


def forced(keyword: str, value: str, *, only: int | None = None) -> Callable[[Dataset, int], None]:
    """Put text into an element, whatever it should hold."""

    def change(dataset: Dataset, k: int) -> None:
        if only is None or k == only:
            make.force(dataset, keyword, value)

    return change


def without(keyword: str, *, only: int) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, k: int) -> None:
        if k == only:
            dataset.pop(keyword, None)

    return change


# --- several images at a place


def twice(first: dict[str, Any], second: dict[str, Any], *, keep: int = 0, **tags: Any) -> Any:
    """Two images at each place that differ in these tags only, instance number and time alike."""

    def made(folder: Path) -> tuple[Path, np.ndarray]:
        both = pixels(), pixels(6, 999)
        for name, (stored, own) in enumerate(zip(both, (first, second), strict=True)):
            # The files of the one are not always before those of the other.
            make.series(folder / str(name), stored, **{**tags, **own})
        for path in sorted((folder / "0").iterdir())[::2]:
            path.rename(folder / "1" / f"z{path.name}")
        slope = float(tags.get("RescaleSlope", 1))
        return folder, both[keep].T * slope

    return made


MAGNITUDE = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}
PHASE = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}
PHILIPS_PHASE = {"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}
PHILIPS_MAGNITUDE = {"ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]}
CORRECTED = {"CorrectedImage": ["DECY", "ATTN", "SCAT"]}
UNCORRECTED = {"CorrectedImage": ["DECY"]}


def echoes_in_turn(folder: Path) -> Path:
    return make.series(
        folder, pixels(), change=lambda d, k: setattr(d, "EchoTime", 5.0 + 10 * (k % 2))
    )


def jittered_echoes(folder: Path) -> tuple[Path, np.ndarray]:
    stored = pixels()
    path = make.series(
        folder, stored, change=lambda d, k: setattr(d, "EchoTime", 4.6 + 0.004 * (k % 2))
    )
    return path, stored.T


def phase_beside_magnitude(folder: Path) -> tuple[Path, np.ndarray]:
    stored = pixels()
    make.series(folder / "m", stored, SeriesInstanceUID="1.2.1", **MAGNITUDE)
    make.series(folder / "p", pixels(), SeriesInstanceUID=generate_uid(), **PHASE)
    return folder, stored.T


COMMA = "decimal commas were read as points"

ROWS = [
    # --- numbers
    Row(
        "rescale slope with a decimal comma",
        "fo-dicom 1915",
        series(forced("RescaleSlope", "0,5"), slope=0.5, intercept=-1024, **CT),
        "CT",
        note=f"{COMMA} in RescaleSlope",
        units="HU",
    ),
    Row(
        "pixel spacing with decimal commas",
        "dcmjs 287",
        series(forced("PixelSpacing", "2,0\\2,5"), intercept=-1024, **CT),
        "CT",
        note=f"{COMMA} in PixelSpacing",
        size=(2.5, 2.0, 2.5),
    ),
    Row(
        "one pixel spacing where there should be two",
        "dcmjs 287",
        series(forced("PixelSpacing", "2,0"), expected=False, **CT),
        "CT",
        refused="PixelSpacing is '2,0', which is no usable value",
    ),
    Row(
        "a comma that may separate thousands",
        "fo-dicom 1296",
        series(forced("RescaleSlope", "1,024"), expected=False, **CT),
        "CT",
        refused="RescaleSlope is '1,024'",
    ),
    Row(
        "rescale slope that is not a number",
        "cornerstone3D 1925",
        series(forced("RescaleSlope", "NaN"), expected=False, **CT),
        "CT",
        refused="RescaleSlope is 'NaN'",
    ),
    Row(
        "rescale slope of zero",
        "cornerstone3D 1925",
        series(forced("RescaleSlope", "0"), expected=False, **CT),
        "CT",
        refused="RescaleSlope is '0'",
    ),
    Row(
        "rescale slope that is damaged on one slice",
        "dwv 80",
        series(forced("RescaleSlope", "1..0", only=3), expected=False, **CT),
        "CT",
        refused="RescaleSlope is '1..0'",
    ),
    Row(
        "rescale slope missing on one slice",
        "pydicom 818",
        series(without("RescaleSlope", only=2), expected=False, **CT),
        "CT",
        refused="has no rescale slope, which other images of its series have",
    ),
    Row(
        "rescale slope missing everywhere",
        "pydicom 818",
        series(modality="CT"),
        "CT",
        note=RELATIVE,
        units="relative",
    ),
    Row(
        "rescale intercept missing everywhere",
        "pydicom 1615",
        series(modality="CT", RescaleSlope=1),
        "CT",
        note=RELATIVE,
        units="relative",
    ),
    Row(
        "rescale intercept that is damaged",
        "pydicom 1615",
        series(forced("RescaleIntercept", "-1024HU"), expected=False, **CT),
        "CT",
        refused="RescaleIntercept is '-1024HU'",
    ),
    Row(
        "values of a CT that are no HU",
        "OnkoDICOM 172",
        series(RescaleType="US", intercept=-1024, **CT),
        "CT",
        note="of type 'US', so they are relative",
        units="relative",
    ),
    Row(
        "slopes that differ from slice to slice",
        "dicom-numpy 1",
        lambda folder: (
            make.series(
                folder,
                pixels(),
                change=lambda d, k: setattr(d, "RescaleSlope", k + 1),
                modality="PT",
                Units="PROPCPS",
                RescaleIntercept=0,
            ),
            (pixels() * np.arange(1, 7)[:, None, None]).T,
        ),
        "PET",
        note="Units are 'PROPCPS'",
    ),
    Row(
        "a PET without any slope",
        "STIR 1123",
        series(modality="PT", Units="BQML"),
        "PET",
        note="no rescale slope, so values are relative and not SUV",
        units="relative",
    ),
    Row(
        "position that is damaged on one slice",
        "dcm2niix 782",
        series(forced("ImagePositionPatient", "0\\x\\5", only=1), expected=False),
        "MR",
        refused="ImagePositionPatient holds text that is no usable value",
    ),
    # --- mixed images
    Row(
        "two echoes at one time have to be chosen",
        "dcm2niix 82",
        twice({"EchoTime": 4.92}, {"EchoTime": 7.38}),
        "MR",
        refused="is a 4-D MR with 2 frames",
    ),
    Row(
        "the first echo is the first frame",
        "dcm2niix 82",
        twice({"EchoTime": 7.38}, {"EchoTime": 4.92}, keep=1),
        "MR",
        options={"frames": 0},
    ),
    Row(
        "the second echo by its number",
        "dcm2niix 20",
        twice({"EchoNumbers": 1}, {"EchoNumbers": 2}, keep=1),
        "MR",
        options={"frames": 1},
    ),
    Row(
        "echoes in turn from slice to slice",
        "dcm2niix 82",
        echoes_in_turn,
        "MR",
        refused="mixes images of different kinds",
    ),
    Row("an echo time that jitters", "dcm2niix 82", jittered_echoes, "MR"),
    Row(
        "magnitude and phase in one series",
        "dcm2niix 414",
        twice(MAGNITUDE, PHASE),
        "MR",
        note="6 phase images are left out",
    ),
    Row(
        "phase before magnitude, as Philips names them",
        "dcm2niix 1033",
        twice(PHILIPS_PHASE, PHILIPS_MAGNITUDE, keep=1),
        "MR",
        note="6 phase images are left out",
    ),
    Row(
        "complex parts by their own element",
        "dcm2niix 626",
        twice({"ComplexImageComponent": "MAGNITUDE"}, {"ComplexImageComponent": "IMAGINARY"}),
        "MR",
        note="6 imaginary images are left out",
    ),
    Row(
        "a phase alone",
        "heudiconv 549",
        series(expected=False, **PHASE),
        "MR",
        refused="holds phase images, which show no anatomy",
    ),
    Row("a phase in a series of its own", "dcm2niix 20", phase_beside_magnitude, "MR"),
    Row(
        "PET with and without attenuation correction",
        "dcm2niix 983",
        twice(CORRECTED, UNCORRECTED, modality="PT", Units="PROPCPS", RescaleSlope=2),
        "PET",
        note="6 images without attenuation correction are left out",
        more_notes=1,
    ),
    Row(
        "two images that nothing tells apart",
        "dcm2niix 82",
        twice({}, {}),
        "MR",
        refused="nothing in their headers tells apart",
    ),
    Row(
        "two kinds of PET must not be averaged",
        "dcm2niix 983",
        twice(
            {"ImageType": ["ORIGINAL", "PRIMARY", "STATIC"]},
            {"ImageType": ["DERIVED", "PRIMARY", "SCATTER"]},
            modality="PT",
            Units="PROPCPS",
            RescaleSlope=1,
        ),
        "PET",
        refused="2 kinds at each place",
    ),
]
