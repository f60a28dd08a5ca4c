"""The outcome of a comparison by detection: efficiencies of eight signals, and the ranking."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from monai_ddfm.apps.benchmark.lesions.rows import View
from monai_ddfm.apps.benchmark.tables import text_grid
from monai_ddfm.metrics.observer import SIGNALS, SUMMARIES, Detection, Lesion
from monai_ddfm.utils.files import NOTICE

__all__ = ["LesionResult", "LesionRow"]

_INTERVAL: Final = "95 % of worst of 8"
_SOURCE: Final = "d' in the better source"


@dataclass(frozen=True, kw_only=True)
class LesionRow:
    """One method on the pairs of one modality.

    Attributes:
        modality: of the moving source.
        view: "gray" or "color".
        noise: what was added to the sources; empty is nothing.
        lesion: what was looked for.
        internal_noise: of the observer.
        method: label of the row.
        detection: what was found.
    """

    modality: str
    view: View
    noise: str
    lesion: Lesion
    internal_noise: float
    method: str
    detection: Detection

    @property
    def table(self) -> tuple[str, View, str, Lesion]:
        """Return which table the row belongs to, whatever the internal noise."""
        return self.modality, self.view, self.noise, self.lesion


@dataclass(frozen=True, kw_only=True)
class LesionResult:
    """Everything that a comparison by detection has found.

    Attributes:
        methods: labels, in order.
        rows: a row for each method, modality, view, noise, lesion and internal noise.
        internal_noise: that of the tables; the rows hold those for half and double as well.
        settings: what the figures depend on.
    """

    methods: Sequence[str]
    rows: Sequence[LesionRow]
    internal_noise: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    def tables(self) -> list[tuple[str, View, str, Lesion]]:
        """Return modality, view, noise and lesion of each table, in order of appearance."""
        return list(dict.fromkeys(row.table for row in self.rows))

    def find(
        self,
        method: str,
        *,
        modality: str,
        view: View = "gray",
        noise: str = "",
        lesion: Lesion | None = None,
        internal_noise: float | None = None,
    ) -> Detection:
        """Return what was found of one method.

        Args:
            method: its label.
            modality: of the moving source.
            view: "gray" or "color".
            noise: what was added to the sources; empty is nothing.
            lesion: what was looked for; None is the first one.
            internal_noise: of the observer; None is that of the tables.

        Raises:
            KeyError: if there is no such row.
        """
        level = self.internal_noise if internal_noise is None else internal_noise
        for row in self.rows:
            fits = lesion is None or row.lesion == lesion
            where = (row.method, row.modality, row.view, row.noise, row.internal_noise)
            if fits and where == (method, modality, view, noise, level):
                return row.detection
        raise KeyError((method, modality, view, noise, lesion, level))

    def of_table(
        self, table: tuple[str, View, str, Lesion], *, internal_noise: float | None = None
    ) -> dict[str, Detection]:
        """Return what was found of each method of a table, by label."""
        level = self.internal_noise if internal_noise is None else internal_noise
        return {
            row.method: row.detection
            for row in self.rows
            if row.table == table and row.internal_noise == level
        }

    @property
    def levels(self) -> list[float]:
        """Return the internal noises for which there are rows, ascending."""
        return sorted({row.internal_noise for row in self.rows})

    @property
    def text(self) -> str:
        """Return all tables as text."""
        parts = []
        for table in self.tables():
            parts += [self._efficiencies(table), self._ranking(table)]
        return "\n\n".join([*parts, NOTICE]) + "\n"

    @property
    def csv(self) -> str:
        """Return every figure as comma-separated values."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        about = ["modality", "view", "noise", "shape", "width_mm", "contrast", "internal_noise"]
        figures = ["d", "d source", "AUC", "efficiency", "low", "high"]
        columns = [f"{figure} {name}" for name in SIGNALS for figure in figures]
        sums = [f"{name}{end}" for name in SUMMARIES for end in ("", " low", " high")]
        writer.writerow([*about, "method", "lesions", *columns, *sums])
        for row in self.rows:
            found, lesion = row.detection, row.lesion
            start = [row.modality, row.view, row.noise, lesion.shape, lesion.width, lesion.contrast]
            values = zip(found.found, found.reference, found.area, found.efficiency, strict=True)
            cells: list[float] = []
            for own, interval in zip(values, found.interval, strict=True):
                cells += [*own, *interval]
            for total, interval in zip(found.summary, found.summary_interval, strict=True):
                cells += [total, *interval]
            shown = ["" if math.isnan(cell) else round(cell, 5) for cell in cells]
            writer.writerow([*start, row.internal_noise, row.method, found.places, *shown])
        return out.getvalue()

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "signals": list(SIGNALS),
            "summaries": list(SUMMARIES),
            "methods": list(self.methods),
            "internal_noise": self.internal_noise,
            "rows": [_document(row) for row in self.rows],
        }

    def _efficiencies(self, table: tuple[str, View, str, Lesion]) -> str:
        modality, view, noise, lesion = table
        found = self.of_table(table)
        places = next(iter(found.values())).places
        added = f", {noise} noise in the sources" if noise else ""
        title = (
            f"{modality}, {view}: efficiency of finding a {lesion}; {places} places, internal "
            f"noise {self.internal_noise:g}{added}"
        )

        names = [*SIGNALS, *SUMMARIES]
        sources = next(iter(found.values())).reference
        cells = {label: (*one.efficiency, *one.summary) for label, one in found.items()}
        cells[_SOURCE] = (*sources, *[math.nan] * len(SUMMARIES))
        lines = text_grid(
            list(cells), names, lambda label, name: cells[label][names.index(name)], starred=()
        )
        lines[0] += f"   {_INTERVAL}"
        for number, detection in enumerate(found.values(), start=1):
            low, high = detection.summary_interval[1]
            lines[number] += "" if math.isnan(low) else f"   {low:.3f} to {high:.3f}"
        return "\n".join([title, *lines])

    def _ranking(self, table: tuple[str, View, str, Lesion]) -> str:
        """Return worst of 8 and mean of 8 with the rank of each, for each internal noise."""
        title = "ranks by internal noise"
        columns = {
            f"{name} at {level:g}": (name, level) for name in SUMMARIES[1:] for level in self.levels
        }
        shown: dict[str, dict[str, float]] = {}
        for column, (name, level) in columns.items():
            number = SUMMARIES.index(name)
            found = self.of_table(table, internal_noise=level)
            shown[column] = {method: found[method].summary[number] for method in found}
        methods = list(next(iter(shown.values())))
        first = max(8, *map(len, methods)) + 1
        lines = [title, " " * first + "".join(f"{column:>22}" for column in columns)]
        for method in methods:
            cells = ""
            for values in shown.values():
                rank = 1 + sum(other > values[method] for other in values.values())
                cells += f"{values[method]:>16.3f} ({rank:>2}) "
            lines.append(f"{method:{first}}{cells}".rstrip())
        return "\n".join(lines)


def _document(row: LesionRow) -> dict[str, Any]:
    found = row.detection
    return {
        "modality": row.modality,
        "view": row.view,
        "noise": row.noise or None,
        "lesion": {
            "shape": row.lesion.shape,
            "width_mm": row.lesion.width,
            "contrast": row.lesion.contrast,
        },
        "internal_noise": row.internal_noise,
        "method": row.method,
        "places": found.places,
        "detectability": list(found.found),
        "detectability_in_source": list(found.reference),
        "area_under_curve": list(found.area),
        "efficiency": list(found.efficiency),
        "interval": [list(pair) for pair in found.interval],
        "summary": list(found.summary),
        "summary_interval": [list(pair) for pair in found.summary_interval],
    }
