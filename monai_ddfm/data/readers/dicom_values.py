"""From stored pixel values to values in units: rescale slopes and real-world value mappings.

A mapping (DICOM PS3.3 C.7.6.16.2.11) says more than a slope: its units as a UCUM code, and for
which stored values it holds. Several of one unit map one range each; several of different units are
alternatives, of which the first with known units is taken. A mapping in units that are not known
gives way to a rescale slope if there is one.

A slope of zero or one that cannot be read is refused: taken as absent it would become 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.tags import UnreadableError, item, sure_number, sure_numbers, text

__all__ = ["ACTIVITY_UNITS", "Rescaling", "Segment", "rescaling_of"]

ACTIVITY_UNITS = {"Bq/ml": 1.0, "kBq/ml": 1e3, "MBq/ml": 1e6, "Bq/cm3": 1.0, "kBq/cm3": 1e3}
"""Bq/ml in one unit of activity concentration, by UCUM code."""
_KNOWN = (*ACTIVITY_UNITS, "{SUVbw}g/ml", "[hnsf'U]")
_SEQUENCE = "RealWorldValueMappingSequence"


@dataclass(frozen=True)
class Segment:
    """What a mapping says of one range of stored values.

    Attributes:
        first: the lowest stored value it holds for.
        last: the highest.
        slope: of the line.
        intercept: of the line.
        table: real-world value of each stored value from `first` on, instead of a line.
    """

    first: float
    last: float
    slope: float
    intercept: float
    table: tuple[float, ...] = ()

    def __call__(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map stored values, all of them within the range."""
        if self.table:
            index = (stored - self.first).astype(np.int64)
            return np.asarray(self.table, dtype=np.float64)[index]
        return stored * self.slope + self.intercept


@dataclass(frozen=True)
class Rescaling:
    """How stored values become values in units.

    Attributes:
        slope: of the line, where there are no segments.
        intercept: of the line.
        stated: whether the header has a slope at all.
        has_intercept: whether it has an intercept, too.
        units: UCUM code of a mapping or a rescale type, ``""`` where none is stated.
        segments: ranges with a map of their own; empty for one line for all.
    """

    slope: float = 1.0
    intercept: float = 0.0
    stated: bool = False
    has_intercept: bool = False
    units: str = ""
    segments: tuple[Segment, ...] = ()

    def __call__(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Map stored values; what no segment covers becomes NaN."""
        if not self.segments:
            return np.asarray(stored * self.slope + self.intercept, dtype=np.float32)
        plain = stored.astype(np.float64)
        mapped = np.full(plain.shape, np.nan)
        for segment in self.segments:
            inside = (plain >= segment.first) & (plain <= segment.last)
            mapped[inside] = segment(plain[inside])
        return mapped.astype(np.float32)


def rescaling_of(holders: Sequence[Dataset | None], sources: Sequence[Dataset | None]) -> Rescaling:
    """Find how the stored values of a frame are rescaled.

    Args:
        holders: datasets that may hold a mapping sequence, nearest to the frame first.
        sources: datasets that may hold a rescale slope, likewise.

    Returns:
        The map.

    Raises:
        UnreadableError: a slope or intercept is zero, no number, or contradicts itself.
    """
    mapped = next((found for holder in holders if (found := _mappings(holder))), [])
    known = next((code for code, _ in mapped if code in _KNOWN), None)
    plain = None if known else _plain(sources)
    if not mapped or plain is not None:
        return plain or Rescaling()
    code = known or mapped[0][0]
    segments = list(dict.fromkeys(one for other, one in mapped if other == code))
    if len(segments) == 1 and not segments[0].table:
        only = segments[0]
        return Rescaling(only.slope, only.intercept, True, True, code)
    _check_ranges(segments)
    return Rescaling(stated=True, has_intercept=True, units=code, segments=tuple(segments))


def _plain(sources: Sequence[Dataset | None]) -> Rescaling | None:
    for source in sources:
        slope = sure_number(source, "RescaleSlope")
        if slope is None:
            continue
        if slope == 0:
            raise UnreadableError("RescaleSlope", "0")
        intercept = sure_number(source, "RescaleIntercept")
        kind = text(source, "RescaleType").upper()
        return Rescaling(slope, intercept or 0.0, True, intercept is not None, kind)
    return None


def _mappings(holder: Dataset | None) -> list[tuple[str, Segment]]:
    """Return unit code and segment of every item of a mapping sequence."""
    if holder is None or _SEQUENCE not in holder:
        return []
    try:
        items = list(holder.get(_SEQUENCE) or ())
    except Exception as error:  # what a damaged sequence raises is not documented
        raise UnreadableError(_SEQUENCE, "damaged", ours=True) from error
    return [(_unit(one), _segment(one)) for one in items]


def _unit(mapping: Dataset) -> str:
    return text(item(mapping, "MeasurementUnitsCodeSequence"), "CodeValue")


def _segment(mapping: Dataset) -> Segment:
    first, last = (_one_of(mapping, f"RealWorldValue{end}ValueMapped") for end in ("First", "Last"))
    table = sure_numbers(mapping, "RealWorldValueLUTData")
    if table:
        if first is None or last is None or len(table) != int(last - first) + 1:
            raise UnreadableError("RealWorldValueLUTData", f"{len(table)} values", ours=True)
        return Segment(first, last, 0.0, 0.0, table)
    slope = sure_number(mapping, "RealWorldValueSlope")
    if not slope:
        shown = "0" if slope == 0 else "missing"
        raise UnreadableError("RealWorldValueSlope", shown, ours=True)
    intercept = sure_number(mapping, "RealWorldValueIntercept") or 0.0
    low = -np.inf if first is None else first
    high = np.inf if last is None else last
    return Segment(low, high, slope, intercept)


def _one_of(mapping: Dataset, keyword: str) -> float | None:
    plain = sure_number(mapping, keyword)
    return sure_number(mapping, f"DoubleFloat{keyword}") if plain is None else plain


def _check_ranges(segments: Sequence[Segment]) -> None:
    ordered = sorted(segments, key=lambda one: one.first)
    for before, after in pairwise(ordered):
        if after.first <= before.last:
            shown = f"two maps for the value {after.first:g}"
            raise UnreadableError(_SEQUENCE, shown, ours=True)
