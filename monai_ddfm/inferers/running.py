"""Patches through the sampler: batches on a GPU, one thread for each slice on a CPU.

On a CPU the slices of a batch are divided among as many threads as PyTorch would use for one
operation, and every slice is computed by a single thread. That is faster than many threads on one
slice, because nothing is waited for, and the bytes of a slice do not depend on how many threads or
slices there are: libraries split and round their sums by the number of threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.layout import Patch, SliceLayout, chosen, cut, pad_to_frame
from monai_ddfm.inferers.noise import FramedNoise, SamplingNoise
from monai_ddfm.inferers.progress import ProgressCallback, SamplingProgress
from monai_ddfm.inferers.sampling import FusionSampler, SamplingStep

__all__ = ["Batches", "SliceRunner", "Workers", "cpu_workers", "is_out_of_memory"]

_log = logging.getLogger(__name__)
_AUTO_BATCH = {"cuda": 256, "cpu": 4}


def cpu_workers() -> int:
    """How many slices a CPU computes at a time: as many as PyTorch has threads."""
    return torch.get_num_threads()


@dataclass(frozen=True, kw_only=True)
class SliceRunner:
    """Samples the patches of a layout.

    Attributes:
        sampler: samples a batch.
        sampling_noise: drawn by number of the slice.
        network: the prior.
        layout: of the slices.
        batch_size: slices at a time; "auto" starts large and halves when memory runs out.
        progress: called after every step of a batch.
        total: slices of the run, for `progress`.
    """

    sampler: FusionSampler
    network: nn.Module
    sampling_noise: SamplingNoise
    layout: SliceLayout
    batch_size: int | Literal["auto"]
    progress: ProgressCallback | None = None
    total: int = 0

    def __call__(
        self,
        slices: Tensor,
        patches: Sequence[Patch],
        *,
        on_batch: Callable[[Sequence[Patch], Tensor], None],
    ) -> None:
        """Sample patches of `slices` [N, 2, H, W].

        Args:
            slices: the sources; only the slices of a batch are copied at a time.
            patches: which to sample.
            on_batch: called with the patches of every finished batch and their outcome, luminance
                and weight [n, 2, height, width].

        Raises:
            InputError: if memory runs out with the batch size asked for, or with one slice.
        """
        done = self.total - len(patches)
        batches = Batches(self.batch_size, slices.device)
        with Workers.on(slices.device) as workers:

            def sample(batch: list[Patch]) -> Tensor:
                return self._sample(slices, batch, done=done, workers=workers)

            def keep(batch: list[Patch], outcome: Tensor) -> None:
                nonlocal done
                on_batch(batch, outcome)
                done += len(batch)

            batches(patches, sample, keep=keep)

    def _sample(self, slices: Tensor, batch: list[Patch], *, done: int, workers: Workers) -> Tensor:
        parts = workers.divide(batch, alone=self.sampler.tolerance is not None)
        meter = _Meter(self, parts, done)

        def run(number: int) -> Tensor:
            part = parts[number]
            outcome = self._sample_part(slices, part, lambda step: meter(number, step))
            meter.finish(number)
            return outcome

        outcomes = workers.map(run, len(parts), stop=meter.stopping.set)
        return torch.cat(outcomes)

    def _sample_part(
        self, slices: Tensor, part: list[Patch], on_step: Callable[[SamplingStep], None]
    ) -> Tensor:
        numbers = [patch.number for patch in part]
        corners = {patch.number: (patch.top, patch.left) for patch in part}
        noise = FramedNoise(source=self.sampling_noise, frame=self.layout.frame, corners=corners)
        sources = cut(pad_to_frame(chosen(slices, numbers), self.layout.frame), part)
        rectified = self.sampler(
            sources, self.network, noise=noise, slices=numbers, on_step=on_step
        )
        return torch.cat([rectified.luminance, rectified.weight], dim=1).float()


class Batches:
    """Patches in batches of one size, which shrink when memory runs out.

    Args:
        batch_size: slices at a time; "auto" starts large and halves.
        device: that computes.
    """

    def __init__(self, batch_size: int | Literal["auto"], device: torch.device) -> None:
        self.batch_size = batch_size
        largest = max(_AUTO_BATCH.get(device.type, 4), cpu_workers())
        self._size = largest if batch_size == "auto" else batch_size

    def __call__(
        self,
        patches: Sequence[Patch],
        work: Callable[[list[Patch]], Tensor],
        *,
        keep: Callable[[list[Patch], Tensor], None],
    ) -> None:
        """Call `keep` with every batch and what `work` makes of it.

        Whatever these two raise goes on, StopIteration of a caller's callback, too.

        Raises:
            InputError: if memory runs out with the batch size asked for, or with one slice.
        """
        for queue in _same_sizes(patches):
            while queue:
                batch = queue[: self._size]
                try:
                    outcome = work(batch)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    self._size = self._smaller(len(batch), error)
                    continue
                del queue[: len(batch)]
                keep(batch, outcome)

    def _smaller(self, size: int, error: BaseException) -> int:
        """Return half of a batch size that was too large, or give up."""
        if size == 1:
            raise InputError(
                "not enough memory for a single slice; use a smaller prior, amp, or another device."
            ) from error
        if self.batch_size != "auto":
            raise InputError(
                f"not enough memory for {size} slices at a time; use batch size auto."
            ) from error
        _log.warning("out of memory with %d slices at a time; going on with %d", size, size // 2)
        return size // 2


class _StoppedError(Exception):
    """Another thread has failed, or the user has stopped the run."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Threads of a CPU, or none."""

    count: int
    pool: ThreadPoolExecutor | None

    @classmethod
    @contextmanager
    def on(cls, device: torch.device) -> Iterator[Workers]:
        """Start them; while they live, PyTorch uses one thread for an operation on the CPU."""
        if device.type != "cpu":
            yield cls(count=0, pool=None)
            return
        count = cpu_workers()
        torch.set_num_threads(1)
        try:
            if count == 1:
                yield cls(count=1, pool=None)
                return
            with ThreadPoolExecutor(count, thread_name_prefix="slices") as pool:
                yield cls(count=count, pool=pool)
        finally:
            torch.set_num_threads(count)

    def divide(self, batch: list[Patch], *, alone: bool) -> list[list[Patch]]:
        """Divide a batch into parts, one for each thread, or each slice by itself."""
        if self.count == 0:
            return [batch]
        each = 1 if alone else -(-len(batch) // self.count)
        return [batch[i : i + each] for i in range(0, len(batch), each)]

    def map(
        self, work: Callable[[int], Tensor], count: int, *, stop: Callable[[], None]
    ) -> list[Tensor]:
        """Do all parts; `stop` makes those that run end early after an error or Ctrl-C."""
        if self.pool is None:
            return [work(number) for number in range(count)]
        futures = [self.pool.submit(work, number) for number in range(count)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if any(not future.done() or future.exception() for future in futures):
                stop()
            wait(futures)
        errors = [error for error in (future.exception() for future in futures) if error]
        if errors:
            raise next((e for e in errors if not isinstance(e, _StoppedError)), errors[0])
        return [future.result() for future in futures]


@dataclass
class _Meter:
    """Reports a step of a batch when every part of it has done it."""

    runner: SliceRunner
    parts: list[list[Patch]]
    done: int
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._steps = [0] * len(self.parts)
        self._reported = 0
        self._lock = threading.Lock()

    def __call__(self, part: int, step: SamplingStep) -> None:
        if self.stopping.is_set():
            raise _StoppedError
        with self._lock:
            self._steps[part] = step.index + 1
            self._report()

    def finish(self, part: int) -> None:
        """A part is finished, perhaps before its last step."""
        with self._lock:
            self._steps[part] = self.runner.sampler.steps
            self._report()

    def _report(self) -> None:
        while self._reported < min(self._steps):
            self._reported += 1
            if self.runner.progress is not None:
                slices = sum(map(len, self.parts))
                steps = self.runner.sampler.steps
                self.runner.progress(
                    SamplingProgress(self.done, slices, self.runner.total, self._reported, steps)
                )


def _same_sizes(patches: Sequence[Patch]) -> list[list[Patch]]:
    """Group patches by size; only those of one size go through the network together."""
    groups: dict[tuple[int, int], list[Patch]] = {}
    for patch in patches:
        groups.setdefault(patch.size, []).append(patch)
    return list(groups.values())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch ran out of memory; the host and some libraries say so in words only."""
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
