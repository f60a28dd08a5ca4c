"""Volumes whose slices have a SeriesInstanceUID each.

Some scanners and archives give every slice a series of its own. Such slices agree in study, series
number, description and everything that makes a grid; they are put together again, which a note
tells. Single slices that differ in any of these stay apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset

from monai_ddfm.data.readers.tags import texts, whole

__all__ = ["GRID_TAGS", "joined"]

GRID_TAGS = (
    "StudyInstanceUID",
    "PatientID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "ImageOrientationPatient",
    "PixelSpacing",
)
"""What slices of one volume have in common."""


def joined(series: Mapping[str, Sequence[Dataset]]) -> tuple[list[list[str]], list[str]]:
    """Put single slices that make one volume together.

    Args:
        series: headers of the files of each series, by UID; several files at one place are time
            frames of a slice.

    Returns:
        UIDs that belong together, in the order they were met, and a note for each such list,
        ``""`` where it is a single series.
    """
    alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for uid, headers in series.items():
        # A series that is more than a slice is alike to nothing but itself.
        key = tuple(texts(headers[0], tag) for tag in GRID_TAGS) if _is_slice(headers) else (uid,)
        alike[key].append(uid)
    groups = [part for uids in alike.values() for part in _told_apart(uids, series)]
    notes = [
        f"{len(uids)} series of a single slice each were put together to one volume"
        if len(uids) > 1
        else ""
        for uids in groups
    ]
    return groups, notes


def _is_slice(headers: Sequence[Dataset]) -> bool:
    """Whether all files lie at one place and are no localizer."""
    places = {texts(header, "ImagePositionPatient") for header in headers}
    return (
        len(places) == 1
        and () not in places
        and all(whole(header, "NumberOfFrames", 1) <= 1 for header in headers)
        and not any("LOCALIZER" in texts(header, "ImageType") for header in headers)
    )


def _told_apart(uids: Sequence[str], series: Mapping[str, Sequence[Dataset]]) -> list[list[str]]:
    """Leave slices alone that lie at one place: then they are no slices of one volume."""
    places = {texts(series[uid][0], "ImagePositionPatient") for uid in uids}
    return [list(uids)] if len(places) == len(uids) else [[uid] for uid in uids]
