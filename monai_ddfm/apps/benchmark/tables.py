"""The outcome of a benchmark: every figure, means by modality, and who is better than whom."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Final

from monai_ddfm.apps.benchmark.figures import ROBUSTNESS
from monai_ddfm.utils.files import NOTICE

__all__ = ["BenchmarkResult", "MethodRow", "RobustnessRow", "text_grid"]

_WIDTH: Final = 9
_SECONDS: Final = "s/slice"
_EVALUATIONS: Final = "evals"
_FORMATS: Final = {
    "SD": ".2f",
    "SF": ".2f",
    "AG": ".2f",
    "PSNR": ".2f",
    "hue": ".2f",
    "evals": ".1f",
}


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """One method on one pair.

    Attributes:
        modality: of the second source.
        pair: name of the pair.
        method: label of the method.
        stretch: whether the result was stretched to full contrast before it was measured.
        figures: by name.
        seconds: of the fusion, for one slice.
        evaluations: of the network, for one slice; 0 without a network.
    """

    modality: str
    pair: str
    method: str
    stretch: bool
    figures: Mapping[str, float]
    seconds: float
    evaluations: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RobustnessRow:
    """How far noise moves one method's result on one pair.

    Attributes:
        modality: of the second source.
        pair: name of the pair.
        method: label of the method.
        noise: what was added to both sources.
        figures: "PSNR" and "SSIM" of fused(noisy) against fused(clean) inside the head.
    """

    modality: str
    pair: str
    method: str
    noise: str
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Everything that a benchmark has found.

    Attributes:
        metrics: names of the figures, in the order of the tables.
        methods: labels, in order.
        baselines: those of them that are plain rules, which the others are compared with.
        rows: a row for each method, pair and kind of stretch.
        robustness: a row for each method, pair and noise; empty without noise.
        settings: what the figures depend on: convention, version, prior, noise and so on.
    """

    metrics: Sequence[str]
    methods: Sequence[str]
    baselines: Sequence[str]
    rows: Sequence[MethodRow]
    robustness: Sequence[RobustnessRow] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modalities(self) -> list[str]:
        """Return the modalities in order of appearance."""
        return list(dict.fromkeys(row.modality for row in self.rows))

    def mean(self, figure: str, *, modality: str, method: str, stretch: bool = False) -> float:
        """Return the mean of a figure over the pairs of a modality; NaN if there is none."""
        wanted = (modality, method, stretch)
        return _mean(
            row.figures.get(figure, math.nan)
            for row in self.rows
            if (row.modality, row.method, row.stretch) == wanted
        )

    def seconds(self, method: str, *, modality: str) -> float:
        """Return the mean time in seconds that the fusion of a slice took."""
        return _mean(
            row.seconds for row in self.rows if (row.modality, row.method) == (modality, method)
        )

    def evaluations(self, method: str, *, modality: str) -> float:
        """Return how often the network was evaluated for a slice, on the mean."""
        wanted = (modality, method)
        return _mean(row.evaluations for row in self.rows if (row.modality, row.method) == wanted)

    def robustness_mean(self, figure: str, *, modality: str, method: str, noise: str) -> float:
        """Return the mean of "PSNR" or "SSIM" of fused(noisy); NaN if there is none."""
        wanted = (modality, method, noise)
        return _mean(
            row.figures[figure]
            for row in self.robustness
            if (row.modality, row.method, row.noise) == wanted
        )

    def better(
        self, method: str, than: str, *, modality: str, stretch: bool = False
    ) -> dict[str, bool]:
        """Say for each figure whether a method's mean is larger than another's."""
        return {
            name: self.mean(name, modality=modality, method=method, stretch=stretch)
            > self.mean(name, modality=modality, method=than, stretch=stretch)
            for name in self.metrics
        }

    @property
    def text(self) -> str:
        """Return all tables as text."""
        parts = []
        for modality in self.modalities:
            for stretch in sorted({row.stretch for row in self.rows}):
                parts.append(self._figures_table(modality, stretch=stretch))
        for noise in dict.fromkeys(row.noise for row in self.robustness):
            parts.append(self._robustness_table(noise))
        return "\n\n".join([*parts, NOTICE]) + "\n"

    @property
    def csv(self) -> str:
        """Return every figure of every pair as comma-separated values."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.figures))
        noises = list(dict.fromkeys(row.noise for row in self.robustness))
        noisy = {(r.modality, r.pair, r.method, r.noise): r.figures for r in self.robustness}
        columns = [f"{figure} {noise}" for noise in noises for figure in ROBUSTNESS]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        named = ["modality", "pair", "method", "stretch"]
        writer.writerow([*named, *names, *columns, "evaluations", "seconds"])
        for row in self.rows:
            moved: list[float | str] = []
            for noise in noises:
                found = noisy.get((row.modality, row.pair, row.method, noise), {})
                moved += ["" if row.stretch else found.get(name, "") for name in ROBUSTNESS]
            figures = [row.figures.get(name, "") for name in names]
            start = [row.modality, row.pair, row.method, int(row.stretch)]
            cost = [round(row.evaluations, 3), round(row.seconds, 4)]
            writer.writerow([*start, *figures, *moved, *cost])
        return out.getvalue()

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as one JSON document: settings, means, comparisons, rows."""
        means = []
        for modality, method, stretch in dict.fromkeys(
            (row.modality, row.method, row.stretch) for row in self.rows
        ):
            where: dict[str, Any] = {"modality": modality, "stretch": stretch}
            names = [*self.metrics, "excess", "flicker", "hue"]
            better = {
                other: [name for name, won in self.better(method, other, **where).items() if won]
                for other in self.baselines
                if other != method
            }
            figures = {name: self.mean(name, method=method, **where) for name in names}
            means.append(
                {
                    **where,
                    "method": method,
                    "figures": figures,
                    "evaluations": self.evaluations(method, modality=modality),
                    "better_than": better,
                }
            )
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "metrics": list(self.metrics),
            "methods": list(self.methods),
            "means": means,
            "rows": [asdict(row) for row in self.rows],
            "robustness": [asdict(row) for row in self.robustness],
        }

    def _figures_table(self, modality: str, *, stretch: bool) -> str:
        pairs = {row.pair for row in self.rows if row.modality == modality}
        kind = "stretched to full contrast" if stretch else "no stretch"
        title = f"{modality}: means over {len(pairs)} {_plural('pair', len(pairs))}, {kind}"
        extra = [
            name
            for name in ("flicker", "hue", "excess")
            if any(name in row.figures for row in self.rows if row.modality == modality)
        ]
        columns = [*self.metrics, *extra, _EVALUATIONS, _SECONDS]

        def value(method: str, name: str) -> float:
            if name == _EVALUATIONS:
                return self.evaluations(method, modality=modality)
            if name == _SECONDS:
                return self.seconds(method, modality=modality)
            return self.mean(name, modality=modality, method=method, stretch=stretch)

        lines = [title, *text_grid(self.methods, columns, value, starred=self.metrics)]
        for method in self.methods:
            if method not in self.baselines:
                lines += self._comparison(method, modality=modality, stretch=stretch)
        return "\n".join(lines)

    def _comparison(self, method: str, *, modality: str, stretch: bool) -> list[str]:
        lines = []
        for other in self.baselines:
            better = self.better(method, other, modality=modality, stretch=stretch)
            won = sum(better.values())
            not_won = [name for name, is_better in better.items() if not is_better]
            rest = f" (not {', '.join(not_won)})" if 0 < len(not_won) < len(better) else ""
            lines.append(f"{method}: better than {other} in {won} of {len(better)}{rest}")
        return lines

    def _robustness_table(self, noise: str) -> str:
        kind, _, sigma = noise.partition(":")
        title = f"fused(noisy) against fused(clean) inside the head, {kind} noise of {sigma} of 255"
        columns = [f"{figure} {modality}" for modality in self.modalities for figure in ROBUSTNESS]

        def value(method: str, column: str) -> float:
            figure, _, modality = column.partition(" ")
            return self.robustness_mean(figure, modality=modality, method=method, noise=noise)

        return "\n".join([title, *text_grid(self.methods, columns, value, starred=columns)])


def text_grid(
    methods: Sequence[str],
    columns: Sequence[str],
    value: Callable[[str, str], float],
    *,
    starred: Iterable[str],
) -> list[str]:
    """Return the lines of a table; the largest value of each starred column has a star."""
    first = max(8, *(len(method) for method in methods)) + 1
    widths = {column: max(_WIDTH, len(column) + 2) for column in columns}
    lines = [" " * first + "".join(f"{column:>{widths[column]}} " for column in columns).rstrip()]
    table = {(method, column): value(method, column) for method in methods for column in columns}
    for method in methods:
        cells = ""
        for column in columns:
            best = max(
                (table[m, column] for m in methods if table[m, column] == table[m, column]),
                default=math.nan,
            )
            star = "*" if column in starred and table[method, column] == best else " "
            cells += f"{_shown(table[method, column], column):>{widths[column]}}{star}"
        lines.append(f"{method:{first}}{cells}".rstrip())
    return lines


def _shown(value: float, column: str) -> str:
    if math.isnan(value):
        return "-"
    if column == "excess":
        return f"{value:.0e}" if value else "0"
    return format(value, _FORMATS.get(column.partition(" ")[0], ".3f"))


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return fmean(finite) if finite else math.nan


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
