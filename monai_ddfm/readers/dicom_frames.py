"""The frames of DICOM images and where each of them lies.

Three families say it in three ways: single-frame images in their own header, enhanced multi-frame
images in functional groups (shared or per frame), nuclear medicine through the position of its
first frame and the spacing of the others. In the last, the sign of SpacingBetweenSlices gives the
direction: positive stacks along the normal (row direction x column direction), negative against it
(DICOM PS3.3 C.8.4.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_ddfm.errors import InputError
from monai_ddfm.readers.checks import MAX_VOXELS
from monai_ddfm.readers.dicom_claims import check_series_claim
from monai_ddfm.readers.dicom_files import DicomFile, Series
from monai_ddfm.readers.suv import acquired_at
from monai_ddfm.readers.tags import EPOCH, instant, item, number, numbers, text, texts, whole

__all__ = ["Frame", "frames_of"]

_KNOWN_UNITS = ("Bq/ml", "{SUVbw}g/ml", "[hnsf'U]")
_MOST_FRAMES = 200_000
_FARTHEST_MM = 1e6
_TURN = 1e-3
"""Largest difference between direction cosines within a series (0.06 degrees)."""


@dataclass(frozen=True)
class Frame:
    """One slice at one time.

    Attributes:
        file: where it is stored.
        index: its number within the file, from 0.
        position: [3] mm, LPS, centre of the first pixel.
        orientation: [6] direction cosines of a row and of a column.
        spacing: mm between rows, mm between columns.
        size: columns, rows.
        time: orders the frames that share a position.
        duration: seconds, 0 where unknown.
        thickness: mm, 0 where unknown.
        slope: from stored to rescaled values.
        intercept: likewise.
        rescaled: whether the header has slope and intercept at all.
        units: a code for the units of rescaled values, ``""`` where none is stated.
        placed: whether the header says where the slice lies.
    """

    file: DicomFile
    index: int
    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    size: tuple[int, int]
    time: tuple[float, ...]
    duration: float
    thickness: float
    slope: float = 1.0
    intercept: float = 0.0
    rescaled: bool = False
    units: str = ""
    placed: bool = True

    @property
    def name(self) -> str:
        """What to call it in a message."""
        name = self.file.path.name
        return f"frame {self.index + 1} of {name}" if self.file.frames > 1 else name


def frames_of(series: Series, path: Path, *, allow_unknown_geometry: bool) -> list[Frame]:
    """Describe every frame of a series.

    Args:
        series: the series.
        path: what the user gave, for messages.
        allow_unknown_geometry: place frames without position as a stack of 1 mm voxels.

    Returns:
        The frames, all of one size, spacing and orientation.

    Raises:
        InputError: frames without place, of different sizes or orientations, or of absurd number.
    """
    total = sum(
        f.frames * whole(f.header, "Rows") * whole(f.header, "Columns") for f in series.files
    )
    if total > MAX_VOXELS * 16 or series.frames > _MOST_FRAMES:
        raise InputError(
            f"{path} claims {series.frames} slices with {total} pixels, more than can be worked "
            "on; check its header."
        )
    check_series_claim([(file.path, file.header) for file in series.files], path)
    found = [
        frame
        for file in series.files
        for frame in _frames(file, allow_unknown_geometry=allow_unknown_geometry)
    ]
    _check_alike(found, path)
    return found


def _frames(file: DicomFile, *, allow_unknown_geometry: bool) -> Iterator[Frame]:
    header = file.header
    groups = _functional_groups(header, file.frames)
    detector = item(header, "DetectorInformationSequence")
    step = np.zeros(3) if groups or file.frames == 1 else _stacking(file, detector)
    for index in range(file.frames):
        sources = groups[index] if groups else (header, detector)
        orientation = _first(sources, "ImageOrientationPatient", 6)
        position = _first(sources, "ImagePositionPatient", 3)
        spacing = _first(sources, "PixelSpacing", 2)
        placed = bool(orientation and position and spacing and min(spacing) > 0)
        if placed:
            origin = np.array(position) + step * _slice_number(header, index)
        elif allow_unknown_geometry:
            orientation, spacing = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0)
            origin = np.array([0.0, 0.0, index + whole(header, "InstanceNumber")])
        else:
            raise InputError(
                f"{file.path} does not say where its pixels lie (position, orientation or pixel "
                "spacing is missing); give an image with a place in space or allow unknown "
                "geometry."
            )
        if not np.abs(origin).max() < _FARTHEST_MM:
            raise InputError(f"the position in {file.path} cannot be; correct the header.")
        slope, intercept, rescaled, units = _values(sources)
        lasted = _first(sources, "FrameAcquisitionDuration") or numbers(
            header, "ActualFrameDuration"
        )
        yield Frame(
            file=file,
            index=index,
            position=origin,
            orientation=_unit_vectors(orientation, file.path),
            spacing=(spacing[0], spacing[1]),
            size=(whole(header, "Columns"), whole(header, "Rows")),
            time=(*_time(sources, header, index), whole(header, "InstanceNumber"), index),
            duration=lasted[0] / 1000.0 if lasted else 0.0,
            thickness=next(iter(_first(sources, "SliceThickness")), 0.0),
            slope=slope,
            intercept=intercept,
            rescaled=rescaled,
            units=units,
            placed=placed,
        )


_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "RealWorldValueMappingSequence",
    "FrameContentSequence",
    "TemporalPositionSequence",
)


def _functional_groups(header: Dataset, count: int) -> list[tuple[Dataset | None, ...]]:
    """Return, for every frame, the items in which its values may stand, nearest first."""
    try:
        own = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    except Exception:  # a damaged sequence
        own = []
    if len(own) != count:
        return []
    shared = item(header, "SharedFunctionalGroupsSequence")
    common = [item(shared, name) for name in _GROUPS]
    return [(*(item(group, name) for name in _GROUPS), *common, header) for group in own]


def _first(sources: tuple[Dataset | None, ...], keyword: str, count: int = 0) -> tuple[float, ...]:
    return next((v for s in sources if (v := numbers(s, keyword, count))), ())


def _values(sources: tuple[Dataset | None, ...]) -> tuple[float, float, bool, str]:
    """Return slope, intercept, whether they are there, and a unit code."""
    for source in sources:
        factor = number(source, "RealWorldValueSlope")
        code = text(item(source, "MeasurementUnitsCodeSequence"), "CodeValue")
        if factor and code in _KNOWN_UNITS:
            return factor, number(source, "RealWorldValueIntercept") or 0.0, True, code
    for source in sources:
        factor = number(source, "RescaleSlope")
        if factor:
            kind = text(source, "RescaleType").upper()
            return factor, number(source, "RescaleIntercept") or 0.0, True, kind
    return 1.0, 0.0, False, ""


def _time(sources: tuple[Dataset | None, ...], header: Dataset, index: int) -> tuple[float, ...]:
    """Return what orders frames that were measured at the same place."""
    for keyword in ("TemporalPositionIndex", "TemporalPositionTimeOffset"):
        found = _first(sources, keyword, 1)
        if found:
            return found
    stamps = (text(s, "FrameReferenceDateTime") for s in sources if s is not None)
    moment = next((m for stamp in stamps if (m := instant(stamp))), None)
    if moment is not None:
        return ((moment - EPOCH).total_seconds(),)
    slots = [
        vector[index]
        for name in ("RRIntervalVector", "TimeSlotVector", "TimeSliceVector", "PhaseVector")
        if len(vector := numbers(header, name)) > index
    ]
    if slots:
        return tuple(slots)
    reference = number(header, "FrameReferenceTime")
    acquired = acquired_at(header)
    if reference is not None:
        return (reference,)
    if acquired is not None:
        return ((acquired - EPOCH).total_seconds(),)
    return (number(header, "TriggerTime") or 0.0,)


def _stacking(file: DicomFile, first: Dataset | None) -> npt.NDArray[np.float64]:
    """Return the step from slice to slice of a multi-frame image without functional groups."""
    header = file.header
    kind = [t.upper() for t in texts(header, "ImageType")]
    if text(header, "Modality").upper() == "NM" and not any("RECON" in t for t in kind[2:]):
        shown = kind[2] if kind[2:] else "unknown"
        raise InputError(
            f"{file.path} holds nuclear medicine frames of type {shown}, not reconstructed slices; "
            "give the reconstructed series (RECON TOMO)."
        )
    windows = numbers(header, "EnergyWindowVector")
    if len(set(windows)) > 1:
        raise InputError(f"{file.path} holds several energy windows; export one of them alone.")
    cosines = _first((header, first), "ImageOrientationPatient", 6)
    distance = number(header, "SpacingBetweenSlices") or number(header, "SliceThickness")
    if not cosines or not distance:
        return np.zeros(3)
    axes = _unit_vectors(cosines, file.path)
    return np.cross(axes[:3], axes[3:]) * distance


def _slice_number(header: Dataset, index: int) -> float:
    vector = numbers(header, "SliceVector")
    return vector[index] - 1 if len(vector) > index else float(index)


def _unit_vectors(cosines: tuple[float, ...], path: Path) -> npt.NDArray[np.float64]:
    axes = np.array(cosines, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if not (np.abs(lengths - 1) < 0.01).all() or abs(float(axes[0] @ axes[1])) > 10 * _TURN:
        raise InputError(
            f"the orientation in {path} is not two perpendicular directions; correct the header."
        )
    axes /= lengths
    axes[1] -= axes[0] * float(axes[0] @ axes[1])
    axes[1] /= np.linalg.norm(axes[1])
    return axes.reshape(6)


def _check_alike(frames: list[Frame], path: Path) -> None:
    first = frames[0]
    turned = [f for f in frames if np.abs(f.orientation - first.orientation).max() > _TURN]
    if all(f.file.is_localizer for f in frames) or turned:
        what = "only a localizer" if not turned or len(frames) < 16 else "slices that are turned"
        raise InputError(
            f"{path} holds {what} (slices in different directions do not make a volume); give a "
            "series of parallel slices."
        )
    other = next((f for f in frames if f.size != first.size), None)
    if other is not None:
        raise InputError(
            f"{other.file.path} has {other.size[0]} x {other.size[1]} pixels where the series has "
            f"{first.size[0]} x {first.size[1]}; separate the two."
        )
    other = next((f for f in frames if not np.allclose(f.spacing, first.spacing, rtol=1e-3)), None)
    if other is not None:
        raise InputError(f"{other.file.path} has another pixel spacing; separate the two series.")
