"""The DICOM images that a volume was read from: where each slice lies, and how to refer to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.dicom_files import DicomFile, Series, looks_like_dicom, read_dataset
from monai_ddfm.data.readers.dicom_frames import Frame, frames_of
from monai_ddfm.data.readers.tags import text

__all__ = ["ImageReference", "SourceSeries", "read_sources"]


@dataclass(frozen=True)
class ImageReference:
    """What it takes to refer to an image, or to one frame of it.

    Attributes:
        sop_class: its class.
        uid: its SOPInstanceUID.
        series: its SeriesInstanceUID.
        study: its StudyInstanceUID.
        frame: 1-based number of the frame, 0 for an image with a single one.
    """

    sop_class: str
    uid: str
    series: str
    study: str
    frame: int = 0

    def as_item(self) -> Dataset:
        """Return the item of a sequence that refers to it."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class
        item.ReferencedSOPInstanceUID = self.uid
        if self.frame:
            item.ReferencedFrameNumber = self.frame
        return item


@dataclass(frozen=True)
class SourceSeries:
    """A series that a volume was read from.

    Attributes:
        header: of its first image, as it was found: nothing in it is checked.
        frames: slice by slice, sorted along the normal.
        references: how to refer to each of `frames`; None where an image lacks what that takes.
        frame_of_reference: FrameOfReferenceUID, ``""`` where there is none.
    """

    header: Dataset
    frames: tuple[Frame, ...]
    references: tuple[ImageReference | None, ...]
    frame_of_reference: str

    @property
    def positions(self) -> NDArray[np.float64]:
        """[n, 3] center of the first pixel of every slice, LPS mm."""
        return np.array([frame.position for frame in self.frames])

    @property
    def normal(self) -> NDArray[np.float64]:
        """[3] direction along which the slices are stacked."""
        first = self.frames[0].orientation
        return np.cross(first[:3], first[3:])


def read_sources(volume: Any, rename: Callable[[str], str]) -> SourceSeries | None:
    """Read the headers of the DICOM files that a volume came from.

    Args:
        volume: a MetaTensor from `LoadVolume`, perhaps resampled since.
        rename: gives the identifier that stands for one of a source, or ``""`` if it is invalid.

    Returns:
        The series; None if the volume did not come from DICOM.

    Raises:
        InputError: the files have changed or gone since the volume was read.
    """
    paths = [Path(name) for name in json.loads(str(volume.meta.get("source_files") or "[]"))]
    if not paths or paths[0].is_dir() or not (_is_dicom(volume) or looks_like_dicom(paths[0])):
        return None
    files = tuple(DicomFile(path, read_dataset(path, pixels=False)) for path in paths)
    series = Series(text(files[0].header, "SeriesInstanceUID"), files)
    frames = frames_of(series, paths[0], allow_unknown_geometry=True)
    first = frames[0]
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    frames.sort(key=lambda frame: (float(frame.position @ normal), frame.time))
    uid = text(first.file.header, "FrameOfReferenceUID")
    return SourceSeries(
        header=frames[0].file.header,
        frames=tuple(frames),
        references=tuple(_reference(frame, rename) for frame in frames),
        frame_of_reference=rename(uid),
    )


def _is_dicom(volume: Any) -> bool:
    return bool(str(volume.meta.get("series_instance_uid") or ""))


def _reference(frame: Frame, rename: Callable[[str], str]) -> ImageReference | None:
    header = frame.file.header
    names = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    sop_class, uid, series, study = (rename(text(header, name)) for name in names)
    if not (sop_class and uid and series and study):
        return None
    number = frame.index + 1 if frame.file.frames > 1 else 0
    return ImageReference(sop_class, uid, series, study, number)
