"""Situations in DICOM: numbers that cannot be read, mixed images, mappings, places."""

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


# --- real-world values


def mapped(unit: str, slope: float, first: int = 0, last: int = 65535) -> Dataset:
    return make.item(
        MeasurementUnitsCodeSequence=[make.item(CodeValue=unit, CodingSchemeDesignator="UCUM")],
        RealWorldValueSlope=slope,
        RealWorldValueIntercept=0.0,
        RealWorldValueFirstValueMapped=first,
        RealWorldValueLastValueMapped=last,
    )


def nuclear(*mappings: Dataset, slope: float = 1.0, **tags: Any) -> Any:
    def made(folder: Path) -> tuple[Path, np.ndarray]:
        stored = pixels().astype(np.uint16)
        path = make.nuclear(
            folder / "a.dcm", stored, RealWorldValueMappingSequence=list(mappings), **tags
        )
        return path, stored.T * slope

    return made


def segments(folder: Path) -> tuple[Path, np.ndarray]:
    stored = pixels().astype(np.uint16)
    low, high = mapped("{counts}", 2.0, 0, 1000), mapped("{counts}", 10.0, 1001, 65535)
    path = make.nuclear(folder / "a.dcm", stored, RealWorldValueMappingSequence=[low, high])
    return path, np.where(stored <= 1000, stored * 2.0, stored * 10.0).T


def frame_slopes(unit: str) -> Any:
    """An enhanced image whose frames have mappings of their own and no rescale slope."""

    def made(folder: Path) -> tuple[Path, np.ndarray]:
        stored = pixels(5)
        positions = np.array([[0.0, 0, 2.0 * k] for k in range(5)])
        path = make.enhanced(folder / "a.dcm", stored, positions)
        dataset = make.reread(path)
        slopes = [1.0, 2.0, 0.5, 4.0, 0.25]
        for group, slope in zip(dataset.PerFrameFunctionalGroupsSequence, slopes, strict=True):
            del group.PixelValueTransformationSequence
            group.RealWorldValueMappingSequence = [mapped(unit, slope, last=32767)]
        dataset.save_as(path)
        return path, (stored * np.array(slopes)[:, None, None]).T

    return made


# --- places


def oblique_mr(digits: int, cosines: int = 9) -> Any:
    """A straight oblique MR whose header is written with so many decimals."""

    def made(folder: Path) -> tuple[Path, np.ndarray]:
        stored = pixels(12)
        turned = np.array(make.oblique())
        normal = np.cross(turned[:3], turned[3:])

        def change(dataset: Dataset, k: int) -> None:
            place = np.array([-20.13, 35.57, 12.29]) + 4.37 * k * normal
            dataset.ImagePositionPatient = [f"{mm:.{digits}f}" for mm in place]
            dataset.ImageOrientationPatient = [f"{c:.{cosines}f}" for c in turned]

        path = make.series(folder, stored, change=change, SeriesNumber=1)
        return path, stored.T

    return made


def sheared_mr(folder: Path) -> Path:
    return make.series(folder, pixels(8), step=(0.0, 0.5, 4.0))


def tilted_ct(folder: Path) -> Path:
    return make.series(folder, pixels(8), step=(0.0, 0.5, 4.0), **CT)


# --- files


def bare(folder: Path) -> tuple[Path, np.ndarray]:
    """Files without preamble and ending, one of them beside files that have both."""
    stored = pixels()
    make.series(folder, stored)
    for path in sorted(folder.iterdir())[:3]:
        content = path.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[144 + length :])
        path.rename(path.with_suffix(""))
    (folder / "notes").write_text("no image")
    return folder, stored.T


def uid_per_slice(**tags: Any) -> Any:
    def made(folder: Path) -> tuple[Path, np.ndarray]:
        stored = pixels()

        def change(dataset: Dataset, k: int) -> None:
            dataset.SeriesInstanceUID = f"1.2.3.4.{k}"

        return make.series(folder, stored, change=change, SeriesNumber=7, **tags), stored.T

    return made


def uid_per_slice_of_two(folder: Path) -> Path:
    """Two such volumes: nothing is put together across them."""
    for number in (1, 2):
        make.series(
            folder / str(number),
            pixels(),
            change=lambda d, k, n=number: setattr(d, "SeriesInstanceUID", f"1.2.3.{n}.{k}"),
            SeriesNumber=number,
            SeriesDescription=f"volume {number}",
        )
    return folder


def left_aligned(folder: Path) -> tuple[Path, np.ndarray]:
    stored = pixels().astype(np.uint16)
    path = make.series(folder, stored << 4, BitsStored=12, HighBit=15)
    return path, stored.T


def overlay_above(folder: Path) -> tuple[Path, np.ndarray]:
    stored = pixels().astype(np.uint16)
    return make.series(folder, stored | 0x8000, BitsStored=12, HighBit=11), stored.T


def left_aligned_signed(folder: Path) -> tuple[Path, np.ndarray]:
    stored = pixels() - 1500
    path = make.series(folder, stored << 4, BitsStored=12, HighBit=15)
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
        refused="ImagePositionPatient is '0, x, 5'",
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
    # --- real-world values
    Row(
        "nuclear medicine with a mapping to Bq/ml",
        "STIR 1123",
        nuclear(mapped("Bq/ml", 12.5), slope=12.5, Units="BQML"),
        "SPECT",
        note="no SUV",
        units="Bq/ml",
    ),
    Row(
        "nuclear medicine with a mapping to kBq/ml",
        "STIR 1123",
        nuclear(mapped("kBq/ml", 0.0125), slope=12.5),
        "SPECT",
        note="no SUV",
        units="Bq/ml",
    ),
    Row(
        "nuclear medicine with a mapping to counts",
        "STIR 1123",
        nuclear(mapped("{counts}", 0.25), slope=0.25),
        "SPECT",
        units="counts",
    ),
    Row("a mapping by ranges", "vtk-dicom 26", segments, "SPECT", units="counts"),
    Row(
        "ranges that contradict each other",
        "vtk-dicom 26",
        nuclear(mapped("{counts}", 2.0, 0, 2000), mapped("{counts}", 3.0, 1500, 9000)),
        "SPECT",
        refused="two maps for the value 1500",
    ),
    Row(
        "ranges that leave a gap",
        "vtk-dicom 26",
        nuclear(mapped("{counts}", 2.0, 0, 100), mapped("{counts}", 3.0, 2900, 9000)),
        "SPECT",
        refused="for which its real-world value mapping says nothing",
    ),
    Row(
        "a mapping of slope zero",
        "dcm2niix 493",
        nuclear(mapped("{counts}", 0.0)),
        "SPECT",
        refused="RealWorldValueSlope is '0'",
    ),
    Row("frames with mappings of their own", "nibabel 143", frame_slopes("[arb'U]"), "MR"),
    Row("frames with mappings without a unit", "nibabel 143", frame_slopes("1"), "MR"),
    # --- places
    Row("MR positions of one decimal", "dcm2niix 253", oblique_mr(1), "MR"),
    Row("MR positions of no decimal", "dcm2niix 253", oblique_mr(0), "MR"),
    Row("MR direction cosines of three decimals", "dcm2niix 253", oblique_mr(6, 3), "MR"),
    Row(
        "an MR that is really sheared",
        "dcm2niix 697",
        sheared_mr,
        "MR",
        note="3.50 mm in all, although only a CT has a gantry",
    ),
    Row(
        "a CT with one slice aside",
        "dcm2niix 782",
        series(
            lambda d, k: setattr(
                d, "ImagePositionPatient", [-20, 35.5 + 4 * (k == 3), 12 + 2.5 * k]
            ),
            expected=False,
            **CT,
        ),
        "CT",
        note="displaced against each other by up to",
    ),
    Row(
        "a magnitude that is named on some slices only",
        "dcm2niix 1033",
        series(lambda d, k: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "M"][: 2 + k % 2])),
        "MR",
    ),
    Row("a CT of a tilted gantry", "dcm2niix 232", tilted_ct, "CT", note="tilt of 7.1 degrees"),
    # --- files
    Row("files without preamble and ending", "pydicom 150", bare, "MR"),
    Row(
        "a series for every slice",
        "dcm2niix 495",
        uid_per_slice(),
        "MR",
        note="6 series of a single slice each were put together",
    ),
    Row(
        "a series for every slice, twice",
        "medInria-public 156",
        uid_per_slice_of_two,
        "MR",
        refused="2 series that could be meant",
    ),
    Row("values at the upper end of their bits", "pydicom 2066", left_aligned, "MR"),
    Row("signed values at the upper end", "fo-dicom 189", left_aligned_signed, "MR"),
    Row("an overlay above the values", "vtk-dicom 134", overlay_above, "MR"),
]
