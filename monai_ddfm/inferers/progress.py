"""Progress of a sampling run: what is reported, and a bar that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

__all__ = ["ProgressCallback", "SamplingProgress", "TqdmProgress"]


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


@dataclass
class TqdmProgress:
    """Shows progress as a tqdm bar, in slice-steps.

    Attributes:
        description: text before the bar.
        disable: show nothing; None hides the bar where there is no terminal.
    """

    description: str = "fusing"
    disable: bool | None = None
    _bar: tqdm | None = field(default=None, init=False, repr=False)

    def __call__(self, progress: SamplingProgress) -> None:
        """Move the bar."""
        total = progress.slices * progress.steps
        if self._bar is None or self._bar.total != total:
            self._bar = tqdm(
                total=total, desc=self.description, unit="slice-step", disable=self.disable
            )
        done = progress.slices_done * progress.steps + progress.step * progress.slices_in_batch
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None
