"""Values out of DICOM datasets that may be damaged.

pydicom converts an element when it is first touched, and a damaged one may raise nearly anything
then. Here such an element counts as absent; whoever needs it says so in its own words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

__all__ = [
    "EPOCH",
    "instant",
    "item",
    "number",
    "numbers",
    "private",
    "private_number",
    "text",
    "texts",
    "whole",
]

EPOCH = datetime(2000, 1, 1)
_LONGEST = 256
_DATE = re.compile(r"^(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"^(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")


def _value(source: Dataset | None, keyword: str) -> Any:
    if source is None:
        return None
    try:
        return source.get(keyword)
    except Exception:  # what a damaged element raises is not documented
        return None


def texts(source: Dataset | None, keyword: str) -> tuple[str, ...]:
    """Return the values of an element as strings of one line, empty where there is none."""
    value = _value(source, keyword)
    if value is None:
        return ()
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    try:
        return tuple(_one_line(str(v)) for v in values)
    except Exception:  # undecodable characters
        return ()


def _one_line(value: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in value.replace("\0", ""))
    return shown[:_LONGEST].strip()


def text(source: Dataset | None, keyword: str) -> str:
    """Return the first value of an element as a stripped string, ``""`` where there is none."""
    return next(iter(texts(source, keyword)), "")


def numbers(source: Dataset | None, keyword: str, count: int = 0) -> tuple[float, ...]:
    """Return the values of an element as finite numbers, empty where that is not possible.

    Args:
        source: a dataset, or None.
        keyword: DICOM keyword.
        count: how many values there have to be, 0 for any number.

    Returns:
        The numbers.
    """
    return _finite(_value(source, keyword), count)


def _finite(value: Any, count: int = 0) -> tuple[float, ...]:
    if value is None or isinstance(value, (bytes, Dataset)):
        return ()
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    try:
        found = tuple(float(v) for v in values)
    except (ValueError, TypeError, OverflowError):
        return ()
    if (count and len(found) != count) or not all(math.isfinite(v) for v in found):
        return ()
    return found


def number(source: Dataset | None, keyword: str) -> float | None:
    """Return the first value of an element as a finite number, or None."""
    return next(iter(numbers(source, keyword)), None)


def whole(source: Dataset | None, keyword: str, default: int = 0) -> int:
    """Return the first value of an element as an integer, or `default`."""
    value = number(source, keyword)
    return default if value is None else int(value)


def item(source: Dataset | None, *keywords: str) -> Dataset | None:
    """Follow sequences down, always through their first item.

    Args:
        source: a dataset, or None.
        keywords: the sequences, outermost first.

    Returns:
        The dataset at the end, or None where there is none.
    """
    for keyword in keywords:
        value = _value(source, keyword)
        try:
            source = value[0] if isinstance(value, Sequence) and len(value) else None
        except Exception:  # a damaged item
            return None
        if not isinstance(source, Dataset):
            return None
    return source


def private(source: Dataset, group: int, creator: str, element: int) -> str:
    """Return a private element's value as a string, ``""`` where it is missing or damaged."""
    try:
        value = source.private_block(group, creator)[element].value
        plain = value.decode("ascii") if isinstance(value, bytes) else str(value)
    except Exception:  # no such block, or a damaged one
        return ""
    return plain.strip("\0 ")


def private_number(source: Dataset, group: int, creator: str, element: int) -> float | None:
    """Return a private element as a positive number, or None."""
    found = _finite(private(source, group, creator, element))
    return found[0] if found and found[0] > 0 else None


def instant(date: str, time: str = "") -> datetime | None:
    """Return the moment that a DICOM date and time, or a DICOM date-time, stand for.

    Args:
        date: ``YYYYMMDD``, or a date-time ``YYYYMMDDHHMMSS.FFFFFF`` when `time` is empty. Offsets
            from UTC are not applied.
        time: ``HHMMSS.FFFFFF``.

    Returns:
        The moment, or None where the strings do not make one of the years 1800 to 2199.
    """
    day = _DATE.match(date)
    if day is None:
        return None
    clock = _TIME.match(time or date[day.end() :])
    if clock is None:
        return None
    hour, minute, second = (int(part or 0) for part in clock.groups()[:3])
    micro = int((clock.group(4) or "0").ljust(6, "0"))
    try:
        year, month, date_of_month = (int(part) for part in day.groups())
        whole_day = datetime(year, month, date_of_month)
        if not 1800 <= year < 2200:  # far from where adding to it would overflow
            return None
        return whole_day + timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro)
    except (ValueError, OverflowError):
        return None
