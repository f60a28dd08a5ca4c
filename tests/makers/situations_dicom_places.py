"""Situations in DICOM: real-world values, places of slices, files and bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dicom_makers as make
import numpy as np
from pydicom.dataset import Dataset
from situation_rows import Row
from situations_dicom import CT, pixels, series

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


ROWS = [
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
