"""Values out of DICOM datasets that may be damaged.

pydicom converts an element when it is first touched, and a damaged one may raise nearly anything
then. For `texts` and `numbers` such an element counts as absent; that is for what only helps. What
values or places depend on is read by `sure_numbers`, for which an element that is there but cannot
be read is an error of its own: taken as absent, a rescale slope would silently become 1.

A decimal comma is read as a point (DICOM PS3.5 6.2 knows only the point), unless it may as well
separate thousands: ``70,5`` and ``0,125`` are numbers, ``1,234`` is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from monai_ddfm.errors import InputError

__all__ = [
    "EPOCH",
    "UnreadableError",
    "decimals",
    "has_decimal_comma",
    "instant",
    "item",
    "number",
    "numbers",
    "private",
    "private_number",
    "sure_number",
    "sure_numbers",
    "text",
    "texts",
    "whole",
]

EPOCH = datetime(2000, 1, 1)
_LONGEST = 256
_SHOWN = 6
_DAMAGED = "damaged"
_NUMERIC = re.compile(
    r"[\d\s.,:+/e-]*|[+-]?(nan|inf(inity)?)|[+-]?[\d.,:]+ ?(kg|g|h|min|s|ms|mm|cm|m|hu|m?bq)",
    re.IGNORECASE,
)
_DATE = re.compile(r"^(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"^(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class UnreadableError(InputError):
    """An element is there, but what it holds cannot be read.

    Only what looks like numbers, with a unit or without, or times is quoted: what stands in the
    place of a number may be a name, and sentences are kept in records and tables.

    Args:
        keyword: the element.
        shown: what it holds.
        file: where it stands, if that is known.
        ours: whether `shown` is a word of the program rather than of the file.
    """

    def __init__(self, keyword: str, shown: str, file: object = "", *, ours: bool = False) -> None:
        self.keyword, self.shown, self.ours = keyword, shown, ours
        place = f" in {file}" if file else ""
        super().__init__(f"{self.clause}{place}; correct the header or export the series again.")

    @property
    def clause(self) -> str:
        """What is wrong, without the mend."""
        if self.ours or _NUMERIC.fullmatch(self.shown):
            return f"{self.keyword} is {self.shown!r}, which is no usable value"
        return f"{self.keyword} holds text that is no usable value"


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
        found = tuple(float(_with_point(v)) for v in values)
    except (ValueError, TypeError, OverflowError):
        return ()
    if (count and len(found) != count) or not all(math.isfinite(v) for v in found):
        return ()
    return found


def _with_point(value: Any) -> Any:
    return value.replace(",", ".") if isinstance(value, str) and _is_comma(value) else value


def _is_comma(value: str) -> bool:
    plain = value.strip("\0 ")
    return bool(_COMMA.fullmatch(plain)) and not _THOUSANDS.fullmatch(plain)


def has_decimal_comma(source: Dataset | None, keyword: str) -> bool:
    """Whether a value of this element was read with its comma as a point."""
    value = _value(source, keyword)
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    return any(isinstance(v, str) and _is_comma(v) for v in values)


def decimals(source: Dataset | None, keyword: str) -> int:
    r"""Return how many decimals the values of an element have at most, 0 where there are none.

    Args:
        source: a dataset, or None.
        keyword: of numbers, which need not be written as text.

    Returns:
        1 for ``-12.5\7\3``; values whose decimals are all zero count as whole.
    """
    value = _value(source, keyword)
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    return max((_decimals(str(v)) for v in values if v is not None), default=0)


def _decimals(value: str) -> int:
    mantissa, _, exponent = value.strip("\0 ").lower().replace(",", ".").partition("e")
    whole_part, _, fraction = mantissa.partition(".")
    shift = int(exponent) if exponent.lstrip("+-").isdigit() else 0
    # Whole numbers end in zeros that a negative exponent makes decimals of.
    digits = len(fraction.rstrip("0")) or -(len(whole_part) - len(whole_part.rstrip("0")))
    return max(0, digits - shift)


def sure_numbers(source: Dataset | None, keyword: str, count: int = 0) -> tuple[float, ...]:
    """Return the values of an element as finite numbers, empty only where it holds nothing.

    Args:
        source: a dataset, or None.
        keyword: DICOM keyword.
        count: how many values there have to be, 0 for any number.

    Returns:
        The numbers.

    Raises:
        UnreadableError: the element holds something else.
    """
    if source is None or keyword not in source:
        return ()
    try:
        value = source.get(keyword)
    except Exception as error:  # what a damaged element raises is not documented
        raise UnreadableError(keyword, _DAMAGED, ours=True) from error
    if value is None or (isinstance(value, (str, bytes, list, MultiValue)) and not len(value)):
        return ()
    found = _finite(value, count)
    if not found:
        shown = ", ".join(texts(source, keyword)[:_SHOWN])
        if shown and not shown.strip(", "):
            return ()
        raise UnreadableError(keyword, shown or _DAMAGED, ours=not shown)
    return found


def sure_number(source: Dataset | None, keyword: str) -> float | None:
    """Return the first value of an element as a finite number, or None where it holds nothing.

    Raises:
        UnreadableError: the element holds something else.
    """
    return next(iter(sure_numbers(source, keyword)), None)


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
    """Return a private element as a positive number, or None where it is missing or 0.

    Raises:
        UnreadableError: it is there and is no number.
    """
    value = private(source, group, creator, element)
    if not value:
        return None
    found = _finite(value)
    if not found:
        raise UnreadableError(f"({group:04x},10{element:02x})", value)
    return found[0] if found[0] > 0 else None


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
