"""The frames of DICOM images and where each of them lies.

Three families say it in three ways: single-frame images in their own header, enhanced multi-frame
images in functional groups (shared or per frame), nuclear medicine through the position of its
first frame and the spacing of the others. In the last, the sign of SpacingBetweenSlices gives the
direction: positive stacks along the normal (row direction x column direction), negative against it
(DICOM PS3.3 C.8.4.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.checks import MAX_VOXELS
from monai_ddfm.data.readers.clock import date_time, zone_of
from monai_ddfm.data.readers.dicom_claims import check_series_claim
from monai_ddfm.data.readers.dicom_contrast import Contrast, contrast_of
from monai_ddfm.data.readers.dicom_files import DicomFile, Series
from monai_ddfm.data.readers.dicom_values import Rescaling, rescaling_of
from monai_ddfm.data.readers.suv import acquired_at
from monai_ddfm.data.readers.tags import (
    EPOCH,
    UnreadableError,
    decimals,
    has_decimal_comma,
    item,
    number,
    numbers,
    sure_number,
    sure_numbers,
    text,
    texts,
    whole,
)
from monai_ddfm.errors import InputError

__all__ = ["Frame", "frames_of"]

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
        clock: the element that `time` begins with.
        duration: seconds, 0 where unknown.
        thickness: mm, 0 where unknown.
        rescaling: from stored values to values in units.
        contrast: what kind of image it is.
        decimals: that position and orientation are written with.
        commas: elements whose decimal commas were read as points.
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
    clock: str = ""
    rescaling: Rescaling = field(default_factory=Rescaling)
    contrast: Contrast = field(default_factory=Contrast)
    decimals: tuple[int, int] = (6, 6)
    commas: tuple[str, ...] = ()
    placed: bool = True

    @property
    def units(self) -> str:
        """A code for the units of rescaled values, empty where none is stated."""
        return self.rescaling.units

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
    try:
        yield from _described(file, allow_unknown_geometry=allow_unknown_geometry)
    except UnreadableError as error:
        ours = error.ours
        raise UnreadableError(error.keyword, error.shown, file.path, ours=ours) from error


def _described(file: DicomFile, *, allow_unknown_geometry: bool) -> Iterator[Frame]:
    header = file.header
    groups = _functional_groups(header, file.frames)
    detector = item(header, "DetectorInformationSequence")
    step = np.zeros(3) if groups or file.frames == 1 else _stacking(file, detector)
    for index in range(file.frames):
        holders, sources = groups[index] if groups else ((header,), (header, detector))
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
        clock, time = _time(sources, header, index)
        lasted = (number(s, "FrameAcquisitionDuration") for s in sources)
        duration = next((ms for ms in lasted if ms), None) or number(header, "ActualFrameDuration")
        thick = (number(s, "SliceThickness") for s in sources)
        yield Frame(
            file=file,
            index=index,
            position=origin,
            orientation=_unit_vectors(orientation, file.path),
            spacing=(spacing[0], spacing[1]),
            size=(whole(header, "Columns"), whole(header, "Rows")),
            time=(*time, whole(header, "InstanceNumber"), index),
            clock=clock,
            duration=(duration or 0.0) / 1000.0,
            thickness=next((mm for mm in thick if mm), 0.0),
            rescaling=rescaling_of(holders, sources),
            contrast=contrast_of(sources, header),
            decimals=(_decimals(sources, "Position"), _decimals(sources, "Orientation")),
            commas=_commas(sources),
            placed=placed,
        )


_COMMAS = (
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "PatientWeight",
    "ActualFrameDuration",
    "FrameReferenceTime",
)
_COMMAS_OF_TRACER = ("RadionuclideTotalDose", "RadionuclideHalfLife")


def _commas(sources: tuple[Dataset | None, ...]) -> tuple[str, ...]:
    header = next(source for source in reversed(sources) if source is not None)
    tracer = item(header, "RadiopharmaceuticalInformationSequence")
    found = [name for name in _COMMAS if any(has_decimal_comma(s, name) for s in sources)]
    return (*found, *(name for name in _COMMAS_OF_TRACER if has_decimal_comma(tracer, name)))


def _decimals(sources: tuple[Dataset | None, ...], what: str) -> int:
    return max(decimals(source, f"Image{what}Patient") for source in sources)


_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "RealWorldValueMappingSequence",
    "FrameContentSequence",
    "TemporalPositionSequence",
    "MREchoSequence",
    "MRImageFrameTypeSequence",
    "MRDiffusionSequence",
    "PETFrameTypeSequence",
)
_Sources = tuple[Dataset | None, ...]


def _functional_groups(header: Dataset, count: int) -> list[tuple[_Sources, _Sources]]:
    """Return, for every frame, its groups and the items in which values may stand, nearest first.

    A file that has lost its groups is no enhanced image any more and is read as any other.
    """
    try:
        own = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    except Exception:  # a damaged sequence
        own = []
    if len(own) != count:
        return []
    shared = item(header, "SharedFunctionalGroupsSequence")
    common = [found for name in _GROUPS if (found := item(shared, name)) is not None]
    return [
        (
            (group, shared, header),
            (*(f for name in _GROUPS if (f := item(group, name)) is not None), *common, header),
        )
        for group in own
    ]


def _first(sources: tuple[Dataset | None, ...], keyword: str, count: int = 0) -> tuple[float, ...]:
    return next((v for s in sources if (v := sure_numbers(s, keyword, count))), ())


def _time(
    sources: tuple[Dataset | None, ...], header: Dataset, index: int
) -> tuple[str, tuple[float, ...]]:
    """Return what orders frames that were measured at the same place, and its element."""
    for keyword in ("TemporalPositionIndex", "TemporalPositionTimeOffset"):
        found = next((v for s in sources if (v := numbers(s, keyword, 1))), ())
        if found:
            return keyword, found
    moment = _frame_moment(sources, header)
    if moment is not None:
        return "FrameReferenceDateTime", ((moment - EPOCH).total_seconds(),)
    slots = [
        vector[index]
        for name in ("RRIntervalVector", "TimeSlotVector", "TimeSliceVector", "PhaseVector")
        if len(vector := numbers(header, name)) > index
    ]
    if slots:
        return "TimeSlotVector", tuple(slots)
    reference = number(header, "FrameReferenceTime")
    if reference is not None:
        return "FrameReferenceTime", (reference,)
    try:
        acquired = acquired_at(header)
    except UnreadableError:  # it only orders here
        acquired = None
    if acquired is not None:
        return "AcquisitionTime", ((acquired - EPOCH).total_seconds(),)
    return "TriggerTime", (number(header, "TriggerTime") or 0.0,)


def _frame_moment(sources: tuple[Dataset | None, ...], header: Dataset) -> datetime | None:
    try:
        zone = zone_of(header)
        moments = (date_time(source, "FrameReferenceDateTime", zone) for source in sources)
        return next((moment for moment in moments if moment is not None), None)
    except UnreadableError:  # it only orders here
        return None


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
    distance = sure_number(header, "SpacingBetweenSlices") or sure_number(header, "SliceThickness")
    if not cosines or not distance:
        return np.zeros(3)
    axes = _unit_vectors(cosines, file.path)
    return np.cross(axes[:3], axes[3:]) * distance


def _slice_number(header: Dataset, index: int) -> float:
    vector = sure_numbers(header, "SliceVector")
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
    other = next((f for f in frames if f.rescaling.stated != first.rescaling.stated), None)
    if other is not None:
        lacking = other if first.rescaling.stated else first
        raise InputError(
            f"{lacking.file.path} has no rescale slope, which other images of its series have; "
            "export the series again."
        )
    other = next((f for f in frames if not np.allclose(f.spacing, first.spacing, rtol=1e-3)), None)
    if other is not None:
        raise InputError(f"{other.file.path} has another pixel spacing; separate the two series.")
