"""Progress of a sampling run: what is reported, and a bar or a log that shows it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from monai_ddfm.utils.words import duration_words

__all__ = ["LogProgress", "ProgressCallback", "SamplingProgress", "TqdmProgress"]


@dataclass(frozen=True, slots=True)
class SamplingProgress:
    """Where a run stands.

    Attributes:
        slices_done: slices that are finished.
        slices_in_batch: slices now in work.
        slices: slices of the run that go through the network.
        step: steps done on the batch in work.
        steps: steps of a batch.
    """

    slices_done: int
    slices_in_batch: int
    slices: int
    step: int
    steps: int


ProgressCallback = Callable[[SamplingProgress], None]


_OFTEN_S = 1.0
"""Lines where there is no terminal are so far apart, or more."""


@dataclass
class TqdmProgress:
    """Shows progress as a tqdm bar, in slice-steps.

    Where there is no terminal, as in a log file, every tenth gets a line instead, with an estimate
    of the time to go; a run of a few seconds gets none.

    Attributes:
        description: text before the bar.
        disable: show nothing; None hides the bar where there is no terminal.
    """

    description: str = "fusing"
    disable: bool | None = None
    _bar: tqdm | None = field(default=None, init=False, repr=False)
    _begin: tuple[float, int] = field(default=(0.0, 0), init=False, repr=False)
    _told: tuple[float, int] = field(default=(0.0, 0), init=False, repr=False)

    def __call__(self, progress: SamplingProgress) -> None:
        """Move the bar."""
        total = progress.slices * progress.steps
        done = progress.slices_done * progress.steps + progress.step * progress.slices_in_batch
        if self._bar is None or self._bar.total != total:
            self._bar = tqdm(
                total=total, desc=self.description, unit="slice-step", disable=self.disable
            )
            self._begin, self._told = (time.monotonic(), done), (time.monotonic(), 0)
        self._bar.update(done - self._bar.n)
        if self._bar.disable:
            # A bar that is hidden does not count.
            self._bar.n = done
            if self.disable is None:
                self._line(done, total)
        if done >= total:
            self._bar.close()
            self._bar = None

    def _line(self, done: int, total: int) -> None:
        now, tenth = time.monotonic(), 10 * done // max(1, total)
        if tenth == self._told[1] or now - self._told[0] < _OFTEN_S:
            return
        self._told = now, tenth
        since, at = self._begin
        rest = (now - since) * (total - done) / (done - at) if done > at else 0.0
        to_go = f", about {duration_words(rest)} to go" if rest else ""
        line = f"{self.description}: {10 * tenth} % of the sampling{to_go}"
        print(line, file=sys.stderr, flush=True)


@dataclass
class LogProgress:
    """Writes a line into a log for every tenth of the sampling.

    Attributes:
        name: what is sampled, at the head of the line.
        logger: takes the lines, as information.
    """

    name: str
    logger: logging.Logger
    _tenth: int = field(default=0, init=False, repr=False)

    def __call__(self, progress: SamplingProgress) -> None:
        """Write a line, if another tenth is done."""
        done = progress.slices_done * progress.steps + progress.step * progress.slices_in_batch
        tenth = 10 * done // max(1, progress.slices * progress.steps)
        if tenth > self._tenth:
            self._tenth = tenth
            self.logger.info("%s: %d %% of the sampling", self.name, 10 * tenth)
