"""Moments out of DICOM headers, all on the clock that the header itself uses.

Dates (DA) and times of day (TM) are local to the zone of ``TimezoneOffsetFromUTC``; a date-time
(DT) may carry an offset of its own (DICOM PS3.5 6.2). To be compared, moments with an offset are
brought to the header's zone. Where the header names none, the zone of the scan's own date-times
stands in for it.

What is there but is no time raises `UnreadableError`: 25 o'clock taken as absent would let another
element tell the wrong time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from monai_ddfm.data.readers.tags import UnreadableError, text

__all__ = ["date_time", "day_and_time", "offset_of", "parse_moment", "zone_of"]

_CLOCK = r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d+))?)?)?"
_DATE = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})")
_TIME = re.compile(_CLOCK)
_DATE_TIME = re.compile(rf"(\d{{8}})(?:{_CLOCK})?([+-]\d{{4}})?")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_SCAN = ("AcquisitionDateTime", "DecayCorrectionDateTime", "FrameReferenceDateTime")
_FARTHEST = timedelta(hours=14)
_YEARS = range(1800, 2200)


def zone_of(header: Dataset) -> timedelta | None:
    """Return how far the clock of a header is ahead of UTC, None where it does not say.

    Raises:
        UnreadableError: the offset is none.
    """
    told = text(header, "TimezoneOffsetFromUTC")
    if told:
        return _offset(told, "TimezoneOffsetFromUTC", told)
    offsets = (offset_of(header, keyword) for keyword in _SCAN)
    return next((offset for offset in offsets if offset is not None), None)


def offset_of(source: Dataset | None, keyword: str) -> timedelta | None:
    """Return the offset from UTC that a date-time element carries, None for none."""
    value = text(source, keyword)
    found = _DATE_TIME.fullmatch(value)
    return _offset(found[6], keyword, value) if found and found[6] else None


def date_time(source: Dataset | None, keyword: str, zone: timedelta | None) -> datetime | None:
    """Return the moment that a date-time element tells.

    Args:
        source: a dataset, or None.
        keyword: of the element.
        zone: of the header, from `zone_of`.

    Returns:
        The moment on the header's clock; None where there is none, or only a date.

    Raises:
        UnreadableError: the element holds something else.
    """
    return parse_moment(text(source, keyword), keyword, zone)


def parse_moment(value: str, keyword: str, zone: timedelta | None) -> datetime | None:
    """Return the moment that a date-time tells, see `date_time`.

    Args:
        value: ``YYYYMMDDHHMMSS.FFFFFF&ZZXX``.
        keyword: what to call it in an error.
        zone: of the header.
    """
    if not value:
        return None
    if re.fullmatch(r"\d{4}(\d{2})?", value):  # of a year or a month only, which is allowed
        return None
    found = _DATE_TIME.fullmatch(value)
    if found is None:
        raise UnreadableError(keyword, value)
    if not found[2]:
        return None
    moment = _day(found[1], keyword) + _seconds(found.groups()[1:5], keyword, value)
    if found[6] and zone is not None:
        moment += zone - _offset(found[6], keyword, value)
    return moment


def day_and_time(day: str, source: Dataset | None, keyword: str) -> datetime | None:
    """Return the moment of a time of day on a given day.

    Args:
        day: ``YYYYMMDD``; empty for none.
        source: a dataset, or None.
        keyword: of the time of day.

    Returns:
        The moment; None where day or time is missing.

    Raises:
        UnreadableError: one of them is there and cannot be read.
    """
    value = text(source, keyword)
    if not day or not value:
        return None
    found = _TIME.fullmatch(value)
    if found is None:
        raise UnreadableError(keyword, value)
    return _day(day, keyword.replace("Time", "Date")) + _seconds(found.groups(), keyword, value)


def _day(value: str, keyword: str) -> datetime:
    found = _DATE.fullmatch(value)
    if found is None or int(found[1]) not in _YEARS:
        raise UnreadableError(keyword, value)
    try:
        return datetime(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        raise UnreadableError(keyword, value) from None


def _seconds(parts: tuple[str | None, ...], keyword: str, value: str) -> timedelta:
    hour, minute, second = (int(part or 0) for part in parts[:3])
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        raise UnreadableError(keyword, value)
    micro = int((parts[3] or "0")[:6].ljust(6, "0"))
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro)


def _offset(told: str, keyword: str, value: str) -> timedelta:
    found = _OFFSET.fullmatch(told)
    if found is None:
        raise UnreadableError(keyword, value)
    size = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if size > _FARTHEST or int(found[3]) > 59:
        raise UnreadableError(keyword, value)
    return -size if found[1] == "-" else size
