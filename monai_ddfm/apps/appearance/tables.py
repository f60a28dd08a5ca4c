"""The outcome: every figure, and means over the heads of a modality."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Final

from monai_ddfm.apps.benchmark.tables import text_grid
from monai_ddfm.utils.files import NOTICE

__all__ = ["AppearanceResult", "AppearanceRow", "NoiseRow"]

_NOISY: Final = ("PSNR", "flicker", "time")


@dataclass(frozen=True, kw_only=True)
class AppearanceRow:
    """How one method's result of one head reads.

    Attributes:
        modality: of the second source.
        seed: of the head.
        method: label of the method.
        figures: by name, see `monai_ddfm.apps.appearance.figures`.
    """

    modality: str
    seed: int
    method: str
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class NoiseRow:
    """What noise in both sources leaves of one method's result of one head.

    Attributes:
        modality: of the second source.
        seed: of the head.
        method: label of the method.
        noise: what was added.
        figures: "PSNR", "SSIM" and "flicker", see `monai_ddfm.apps.appearance.figures`;
            "processor_seconds" of the noisy fusion for one slice, and "time", these over those of
            the same method in axial planes.
    """

    modality: str
    seed: int
    method: str
    noise: str
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class AppearanceResult:
    """What a benchmark of the appearance has found.

    Attributes:
        methods: labels, in order.
        rows: a row for each method and head.
        noisy: a row for each method, head and noise; empty without noise.
        settings: what the figures depend on.
    """

    methods: Sequence[str]
    rows: Sequence[AppearanceRow]
    noisy: Sequence[NoiseRow] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modalities(self) -> list[str]:
        """Return the modalities in order of appearance."""
        return list(dict.fromkeys(row.modality for row in self.rows))

    def mean(self, figure: str, *, modality: str, method: str) -> float:
        """Return the mean of a figure over the heads; NaN if there is none."""
        return _mean(
            row.figures.get(figure, math.nan)
            for row in self.rows
            if (row.modality, row.method) == (modality, method)
        )

    def noisy_mean(self, figure: str, *, modality: str, method: str, noise: str) -> float:
        """Return the mean of a figure of noise over the heads; NaN if there is none."""
        return _mean(
            row.figures[figure]
            for row in self.noisy
            if (row.modality, row.method, row.noise) == (modality, method, noise)
        )

    @property
    def text(self) -> str:
        """Return all tables as text."""
        parts = [self._appearance_table(modality) for modality in self.modalities]
        parts += [self._noise_table(noise) for noise in dict.fromkeys(r.noise for r in self.noisy)]
        return "\n\n".join([*parts, NOTICE]) + "\n"

    @property
    def csv(self) -> str:
        """Return every figure as comma-separated values, a line each."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["modality", "seed", "method", "noise", "figure", "value"])
        for row in self.rows:
            start = [row.modality, row.seed, row.method, ""]
            writer.writerows([*start, name, value] for name, value in row.figures.items())
        for one in self.noisy:
            start = [one.modality, one.seed, one.method, one.noise]
            writer.writerows([*start, name, value] for name, value in one.figures.items())
        return out.getvalue()

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "methods": list(self.methods),
            "means": [
                {
                    "modality": modality,
                    "method": method,
                    "figures": {
                        name: self.mean(name, modality=modality, method=method)
                        for name in self._figures(modality)
                    },
                }
                for modality in self.modalities
                for method in self.methods
            ],
            "rows": [asdict(row) for row in self.rows],
            "noisy": [asdict(row) for row in self.noisy],
        }

    def _figures(self, modality: str) -> list[str]:
        rows = (row for row in self.rows if row.modality == modality)
        return list(dict.fromkeys(name for row in rows for name in row.figures))

    def _appearance_table(self, modality: str) -> str:
        heads = len({row.seed for row in self.rows if row.modality == modality})
        title = f"{modality}: what is kept of the sources, {_heads(heads)}"

        def value(method: str, name: str) -> float:
            return self.mean(name, modality=modality, method=method)

        return "\n".join(
            [title, *text_grid(self.methods, self._figures(modality), value, starred=())]
        )

    def _noise_table(self, noise: str) -> str:
        kind, _, sigma = noise.partition(":")
        heads = len({row.seed for row in self.noisy})
        title = f"fused(noisy), {kind} noise of {sigma} of 255, {_heads(heads)}"
        columns = [f"{figure} {modality}" for modality in self.modalities for figure in _NOISY]

        def value(method: str, column: str) -> float:
            figure, _, modality = column.partition(" ")
            return self.noisy_mean(figure, modality=modality, method=method, noise=noise)

        return "\n".join([title, *text_grid(self.methods, columns, value, starred=())])


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return fmean(finite) if finite else math.nan


def _heads(count: int) -> str:
    return "one head" if count == 1 else f"means over {count} heads"
