"""Runs jobs on the workers of a scheduler, until each has a record.

The engine hands out as many jobs as there are workers, and the next one when one comes back. A job
whose worker is lost is tried again after 1, 2, 4, ... seconds, a few times. If the scheduler itself
is lost the run ends: what is finished stays, and the same command goes on from there.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Protocol

from distributed import Client, Future, KilledWorker, wait

from monai_ddfm.apps.cohort.records import Record
from monai_ddfm.apps.cohort.time_limit import took_too_long
from monai_ddfm.apps.cohort.worker import Job, fuse_case

__all__ = ["EngineLostError", "Watcher", "run_jobs"]

_WAIT_S = 0.5
_MOST_WAIT_S = 60.0


class EngineLostError(Exception):
    """The scheduler is gone, or no worker has come for a long time."""


class Watcher(Protocol):
    """Is told what happens."""

    def started(self, key: str) -> None:
        """A job was handed out."""

    def ended(self, record: Record) -> None:
        """A job has its record."""

    def lost(self, key: str, attempt: int, delay: float) -> None:
        """The worker of a job was lost; the job is tried again after `delay` seconds."""


@dataclass(order=True)
class _Entry:
    ready: float
    order: int
    attempt: int = field(compare=False)
    job: Job = field(compare=False)
    begin: float = field(default=0.0, compare=False)


def run_jobs(
    client: Client,
    jobs: Sequence[Job],
    *,
    watcher: Watcher,
    keep: Callable[[Record, float], None],
    retries: int = 3,
    most: int = 0,
    needs_gpu: bool = False,
    patience: float = 600.0,
) -> None:
    """Run all jobs.

    Args:
        client: of the scheduler.
        jobs: what to do.
        watcher: is told what happens.
        keep: gets the record of every job, and the seconds since it was handed out.
        retries: how often a job is tried again whose worker was lost.
        most: jobs at a time; 0 for as many as there are workers.
        needs_gpu: give jobs to workers with a GPU only.
        patience: seconds to wait for a first or next worker.

    Raises:
        EngineLostError: the scheduler is gone or no worker comes.
    """
    waiting = [_Entry(0.0, order, 1, job) for order, job in enumerate(jobs)]
    running: dict[Future, _Entry] = {}
    seen = time.monotonic()
    while waiting or running:
        workers = _workers(client)
        if workers:
            seen = time.monotonic()
        elif time.monotonic() - seen > patience:
            raise EngineLostError(f"no worker has come in {patience:.0f} s")
        resources = _resources(workers, needs_gpu=needs_gpu)
        slots = min(len(workers), most or len(workers))
        while waiting and len(running) < slots and waiting[0].ready <= time.monotonic():
            entry = heapq.heappop(waiting)
            future = client.submit(
                fuse_case,
                entry.job,
                key=f"{entry.job.case.key}-{entry.attempt}-{time.time_ns()}",
                pure=False,
                retries=0,
                resources=resources,
            )
            entry.begin = time.monotonic()
            running[future] = entry
            watcher.started(entry.job.case.key)
        for future in _finished(running):
            entry = running.pop(future)
            record = _record_of(future, entry)
            if record is None and took_too_long(entry.job.work, entry.job.case.key):
                reason = (
                    f"it took more than {entry.job.seconds:.0f} s; give it more with --time-limit, "
                    "or look at its files"
                )
                record = Record.of(entry.job.case, "failed", reason=reason)
            if record is None and entry.attempt <= retries:
                delay = min(_MOST_WAIT_S, 2.0 ** (entry.attempt - 1))
                watcher.lost(entry.job.case.key, entry.attempt, delay)
                again = _Entry(time.monotonic() + delay, entry.order, entry.attempt + 1, entry.job)
                heapq.heappush(waiting, again)
                continue
            if record is None:
                reason = (
                    f"its worker was lost {entry.attempt} times (out of memory?); give workers "
                    "more memory or use fewer with --nprocs"
                )
                record = Record.of(entry.job.case, "failed", reason=reason)
            keep(record, time.monotonic() - entry.begin)
            watcher.ended(record)


def _workers(client: Client) -> dict[str, Any]:
    if client.status != "running":
        raise EngineLostError("the scheduler is gone")
    try:
        return dict(client.scheduler_info(n_workers=-1)["workers"])
    except (OSError, ValueError, CancelledError) as error:
        raise EngineLostError("the scheduler is gone") from error


def _resources(workers: dict[str, Any], *, needs_gpu: bool) -> dict[str, float] | None:
    """Return what a job needs: a resource that no worker has would keep it waiting forever."""
    offered = {name for worker in workers.values() for name in worker.get("resources", {})}
    wanted = {"fusion"} & offered
    if needs_gpu or ("GPU" in offered):
        wanted.add("GPU")
    return dict.fromkeys(wanted, 1.0) or None


def _finished(running: dict[Future, _Entry]) -> list[Future]:
    if not running:
        time.sleep(_WAIT_S)
        return []
    try:
        wait(list(running), timeout=_WAIT_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return []
    except (CancelledError, OSError) as error:
        raise EngineLostError("the scheduler is gone") from error
    return [future for future in running if future.status != "pending"]


def _record_of(future: Future, entry: _Entry) -> Record | None:
    """Return the record of a job that has ended; None if its worker was lost."""
    if future.status in ("cancelled", "lost"):
        raise EngineLostError("the scheduler is gone")
    try:
        result: Record = future.result()
    except KilledWorker:
        return None
    except CancelledError as error:
        raise EngineLostError("the scheduler is gone") from error
    except Exception as error:  # a worker that cannot even begin: another version, no memory
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return Record.of(entry.job.case, "failed", reason=f"the worker failed ({why})")
    return result
