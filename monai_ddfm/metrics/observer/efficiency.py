r"""How much of what the sources show is found in a fusion: d' over d' in the better source.

For each of the eight signals of `monai_ddfm.metrics.observer.signals` the efficiency is

.. math::
    e = d'_{\mathrm{fused}} \Big/ \max_{s\ \mathrm{holds\ the\ signal}} d'_s

with d' at the same places, by the same channels and the same internal noise. 1 is as good as
looking at the better source alone, 0 is gone; with both sources in view more than 1 is possible.
A fusion is summed up by three numbers: the worst of the four signals that only one source holds,
the worst of all eight, and the mean of the eight.

Intervals come from the bootstrap over places: fused and sources are drawn together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.metrics.observer.hotelling import area_under_curve, detectability, resampled
from monai_ddfm.metrics.observer.signals import SIGNALS

__all__ = ["SUMMARIES", "Detection", "Outputs", "detect"]

SUMMARIES: Final = ("worst of 4", "worst of 8", "mean of 8")
"""Names of the three numbers that sum up the efficiencies."""

_INTERVAL: Final = (0.025, 0.975)


@dataclass(frozen=True)
class Outputs:
    """Channel outputs at the same S places.

    Attributes:
        absent: without a signal, float64 [S, C].
        present: with each of the eight, float64 [8, S, C].
    """

    absent: Tensor
    present: Tensor

    @staticmethod
    def joined(parts: list[Outputs]) -> Outputs:
        """Return the outputs at the places of all parts."""
        return Outputs(
            torch.cat([part.absent for part in parts]),
            torch.cat([part.present for part in parts], 1),
        )


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What an observer finds in one kind of image.

    Attributes:
        found: d' of the eight signals, in the order of `SIGNALS`.
        reference: d' in the better source that holds each.
        interval: of each efficiency, 95 %, from the bootstrap; NaN without it.
        summary_interval: of each of the `SUMMARIES`.
        places: how many lesions there were.
    """

    found: tuple[float, ...]
    reference: tuple[float, ...]
    interval: tuple[tuple[float, float], ...]
    summary_interval: tuple[tuple[float, float], ...]
    places: int

    @property
    def efficiency(self) -> tuple[float, ...]:
        """Return the efficiencies of the eight signals; NaN where no source shows one."""
        both = torch.tensor([self.found, self.reference], dtype=torch.float64)
        return tuple((both[0] / both[1]).tolist())

    @property
    def area(self) -> tuple[float, ...]:
        """Return the area under the ROC curve of each of the eight signals."""
        return tuple(area_under_curve(torch.tensor(self.found, dtype=torch.float64)).tolist())

    @property
    def summary(self) -> tuple[float, ...]:
        """Return the worst of the first four, the worst and the mean of all eight."""
        return tuple(_summed(torch.tensor(self.efficiency, dtype=torch.float64)).tolist())


def detect(
    outputs: Outputs,
    *,
    fixed: Outputs,
    moving: Outputs,
    internal_noise: float,
    bootstrap: int = 200,
    seed: int = 0,
) -> Detection:
    """Measure how well the eight signals are found, against the better source.

    Args:
        outputs: of the fusion.
        fixed: of the fixed source, at the same places.
        moving: of the moving source, likewise.
        internal_noise: standard deviation in each channel, see `detectability`.
        bootstrap: number of bootstrap samples for the intervals; 0 leaves them out.
        seed: of the bootstrap.

    Raises:
        InputError: as `detectability`.
    """
    places = len(outputs.absent)
    found, reference = _distances(outputs, fixed, moving, internal_noise, None)
    interval = summary = torch.full((2, 1), torch.nan, dtype=torch.float64)
    if bootstrap:
        counts = resampled(places, times=bootstrap, seed=seed)
        drawn, drawn_reference = _distances(outputs, fixed, moving, internal_noise, counts)
        share = drawn / drawn_reference
        level = torch.tensor(_INTERVAL, dtype=torch.float64)
        interval = share.quantile(level, dim=1)
        summary = _summed(share).quantile(level, dim=1)
    return Detection(
        found=tuple(found.tolist()),
        reference=tuple(reference.tolist()),
        interval=_pairs(interval, len(SIGNALS)),
        summary_interval=_pairs(summary, len(SUMMARIES)),
        places=places,
    )


def _distances(
    outputs: Outputs, fixed: Outputs, moving: Outputs, noise: float, counts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return d' in the fusion and in the better source, [8] or [8, B]."""

    def distance(seen: Outputs, number: int) -> Tensor:
        present = seen.present[number]
        return detectability(seen.absent, present, internal_noise=noise, counts=counts)

    found, reference = [], []
    for number, signs in enumerate(SIGNALS.values()):
        found.append(distance(outputs, number))
        holders = [seen for seen, sign in zip((fixed, moving), signs, strict=True) if sign]
        reference.append(torch.stack([distance(seen, number) for seen in holders]).amax(0))
    return torch.stack(found), torch.stack(reference)


def _summed(efficiency: Tensor) -> Tensor:
    """Return the summaries of efficiencies [8, ...], [3, ...]."""
    single = [number for number, signs in enumerate(SIGNALS.values()) if 0 in signs]
    return torch.stack([efficiency[single].amin(0), efficiency.amin(0), efficiency.mean(0)])


def _pairs(levels: Tensor, count: int) -> tuple[tuple[float, float], ...]:
    low, high = levels.expand(2, count).tolist()
    return tuple(zip(low, high, strict=True))
