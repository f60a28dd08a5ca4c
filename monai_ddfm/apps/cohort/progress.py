"""What a person or a program sees of a run: a live display, plain lines, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from monai_ddfm.apps.cohort.records import Record
from monai_ddfm.errors import InputError

__all__ = ["DISPLAYS", "Display", "make_display"]

DISPLAYS = ("auto", "live", "plain", "json")


class Display(Protocol):
    """Shows a run; also the engine's watcher."""

    def begin(self, total: int, where: str, dashboard: str) -> None:
        """The workers are there and `total` cases are to be done."""

    def started(self, key: str) -> None:
        """A case was handed out."""

    def ended(self, record: Record) -> None:
        """A case has its record."""

    def lost(self, key: str, attempt: int, delay: float) -> None:
        """The worker of a case was lost."""

    def say(self, text: str) -> None:
        """Say something else."""

    def close(self) -> None:
        """The run is over or interrupted: leave the screen as it was."""

    def end(self, summary: dict[str, Any]) -> None:
        """The run has come to its end."""


def make_display(name: str) -> Display:
    """Return a display by its name.

    Args:
        name: one of `DISPLAYS`; "auto" is "live" on a terminal and "plain" elsewhere.

    Raises:
        InputError: there is none of this name.
    """
    if name not in DISPLAYS:
        raise InputError(f"progress {name!r} is unknown; use {', '.join(DISPLAYS)}.")
    if name == "auto":
        name = "live" if sys.stdout.isatty() else "plain"
    if name == "json":
        return _JsonLines()
    return _Live() if name == "live" else _Plain()


class _Counts:
    """Counts cases and estimates the rest from the rate so far."""

    def __init__(self) -> None:
        self.total = self.done = self.failed = 0
        self.running: set[str] = set()
        self.start = time.monotonic()

    def begin(self, total: int) -> None:
        self.total, self.start = total, time.monotonic()

    def ended(self, record: Record) -> None:
        self.running.discard(record.key)
        self.failed += record.status != "done"
        self.done += record.status == "done"

    @property
    def eta(self) -> float | None:
        over = self.done + self.failed
        return (time.monotonic() - self.start) / over * (self.total - over) if over else None

    def __str__(self) -> str:
        eta = "?" if self.eta is None else f"{self.eta:.0f} s"
        return (
            f"{self.done} done, {len(self.running)} running, {self.failed} failed of {self.total}; "
            f"{eta} to go"
        )


class _Plain:
    """A line for everything that happens."""

    def __init__(self) -> None:
        self.counts = _Counts()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def begin(self, total: int, where: str, dashboard: str) -> None:
        self.counts.begin(total)
        self.say(f"{total} to do on {where}; dashboard {dashboard or 'none'}")

    def started(self, key: str) -> None:
        self.counts.running.add(key)

    def ended(self, record: Record) -> None:
        self.counts.ended(record)
        how = "done" if record.status == "done" else f"failed: {record.reason}"
        self.say(f"{record.key}: {how} [{self.counts}]")

    def lost(self, key: str, attempt: int, delay: float) -> None:
        self.counts.running.discard(key)
        self.say(f"{key}: its worker was lost (attempt {attempt}); again in {delay:.0f} s")

    def close(self) -> None:
        pass  # lines stay

    def end(self, summary: dict[str, Any]) -> None:
        self.say(
            f"{summary['done']} done, {summary['failed']} failed in {summary['seconds']:.0f} s"
        )


class _Live(_Plain):
    """A bar with counts, and lines above it for what went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.task = self.bar.add_task("", total=None, visible=False)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def begin(self, total: int, where: str, dashboard: str) -> None:
        super().begin(total, where, dashboard)
        self.bar.update(self.task, total=total, visible=True)
        self.bar.start()
        self._show()

    def started(self, key: str) -> None:
        super().started(key)
        self._show()

    def ended(self, record: Record) -> None:
        self.counts.ended(record)
        if record.status != "done":
            self.say(f"{record.key} failed: {record.reason}")
        self._show()

    def close(self) -> None:
        self.bar.stop()

    def _show(self) -> None:
        over = self.counts.done + self.counts.failed
        self.bar.update(self.task, completed=over, description=str(self.counts))


class _JsonLines:
    """A JSON object on a line for everything that happens, for other programs."""

    def __init__(self) -> None:
        self.counts = _Counts()

    def _print(self, event: str, **content: Any) -> None:
        print(json.dumps({"event": event, **content}), flush=True)

    def say(self, text: str) -> None:
        self._print("message", text=text)

    def begin(self, total: int, where: str, dashboard: str) -> None:
        self.counts.begin(total)
        self._print("begin", total=total, where=where, dashboard=dashboard)

    def started(self, key: str) -> None:
        self.counts.running.add(key)
        self._print("started", case=key)

    def ended(self, record: Record) -> None:
        self.counts.ended(record)
        eta = self.counts.eta
        self._print(
            record.status,
            case=record.key,
            reason=record.reason,
            seconds=record.seconds,
            eta_seconds=None if eta is None else round(eta, 1),
        )

    def lost(self, key: str, attempt: int, delay: float) -> None:
        self.counts.running.discard(key)
        self._print("lost", case=key, attempt=attempt, again_in_seconds=delay)

    def close(self) -> None:
        pass  # lines stay

    def end(self, summary: dict[str, Any]) -> None:
        self._print("end", **summary)
