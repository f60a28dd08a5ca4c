"""One fusion after the other, in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FusionQueue", "QueueFullError", "Turn"]


class QueueFullError(Exception):
    """So many wait already that one more is not taken."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A place in the queue.

    Attributes:
        result: what the fusion gives.
        cancelled: set when nobody waits for it any more.
        ahead: how many were before it when it came.
    """

    result: Future[Any]
    ahead: int
    cancelled: threading.Event = field(default_factory=threading.Event)

    def give_up(self) -> None:
        """Leave the queue, or have the fusion stopped."""
        self.cancelled.set()
        self.result.cancel()


class FusionQueue:
    """Runs one job at a time, and takes no more than it can keep.

    Args:
        length: jobs that may be in work or wait.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fusion")
        self._turns: set[Turn] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._turns)

    def enter(self, job: Callable[[threading.Event], Any]) -> Turn:
        """Put a job at the end of the queue.

        Args:
            job: called, when its turn has come, with the event that says it is given up.

        Raises:
            QueueFullError: too many wait.
        """
        cancelled = threading.Event()
        with self._lock:
            if len(self._turns) >= self.length:
                raise QueueFullError
            ahead = len(self._turns)
            turn = Turn(self._worker.submit(job, cancelled), ahead, cancelled)
            self._turns.add(turn)
        turn.result.add_done_callback(lambda _: self._leave(turn))
        return turn

    def close(self) -> None:
        """Give everything up and wait for what is in work to stop."""
        with self._lock:
            turns = list(self._turns)
        for turn in turns:
            turn.give_up()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            self._turns.discard(turn)
