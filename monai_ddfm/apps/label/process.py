"""The one process that fuses.

Fusions run in a process of their own, one at a time. It loads the prior when the first request
comes and keeps it, so that there is one model in memory however many requests there are. A process
can be ended at any moment: that is how a fusion is given up whose client has gone, or that takes
longer or more memory than the operator allows. The next fusion then gets a new process. A fusion
writes only into the folder of its request.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import LogProgress
from monai_ddfm.workflow import FusionResult, run_inference
from monai_ddfm.workflow.cached_prior import cached_prior

__all__ = ["LOG_FORMAT", "Cancelled", "FusionProcess", "Limits"]

_WAIT_S = 0.2
_SIGNALS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
_CRASHES = tuple(-int(getattr(signal, name)) for name in _SIGNALS if hasattr(signal, name))
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

logger = logging.getLogger(__name__)


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The fusion was given up because nobody waits for it any more."""


@dataclass(frozen=True)
class Limits:
    """What one fusion may take.

    Attributes:
        seconds: from its start, not from that of its waiting.
        memory: bytes of main memory that the process may hold.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class _Refused:
    sentence: str


@dataclass(frozen=True)
class _Failed:
    told: str


class FusionProcess:
    """Runs fusions in another process, which is started when it is first needed.

    Not for several threads at a time: fusions are queued by the caller.

    Args:
        prior: another prior than the bundle's, with its sidecar.
        device: where to compute; None for the configuration's own choice.
        limits: for each fusion.
    """

    def __init__(
        self, *, prior: Path | None = None, device: str | None = None, limits: Limits
    ) -> None:
        self.prior, self.device, self.limits = prior, device, limits
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._ending = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Return the number of the process, or None if there is none at present."""
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def fuse(self, options: Mapping[str, Any], cancelled: threading.Event) -> FusionResult:
        """Run one fusion and wait for it.

        Args:
            options: of the bundle's configuration, by name.
            cancelled: set it to give the fusion up.

        Returns:
            What the fusion wrote.

        Raises:
            InputError: something given cannot be used, or the fusion went over a limit.
            Cancelled: `cancelled` was set.
            RuntimeError: the fusion failed; the message is for the log.
        """
        connection = self._started()
        try:
            connection.send(dict(options))
            answer = self._answer(connection, cancelled)
        except (EOFError, OSError) as error:
            if self._process is not None:
                self._process.join(1)
            code = self._process.exitcode if self._process else None
            self.close()
            if code is not None and code in _CRASHES:
                raise InputError(
                    f"reading or fusing these volumes ends the process that does it (signal "
                    f"{-code}); one of them may be damaged, export it again."
                ) from error
            raise RuntimeError(f"the process that fuses has ended (status {code})") from error
        except (Cancelled, InputError):
            self.close()
            self.start()
            raise
        return _unwrapped(answer)

    def start(self) -> None:
        """Start the process, if there is none, so that the next fusion need not wait for it."""
        self._started()

    def close(self) -> None:
        """End the process, whatever it does; the next fusion gets a new one."""
        with self._ending:
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.join()

    def _started(self) -> Connection:
        if self.pid is not None and self._connection is not None:
            return self._connection
        self.close()
        context = multiprocessing.get_context("spawn")  # a forked PyTorch may hang
        ours, theirs = context.Pipe()
        level = logging.getLogger("monai_ddfm").getEffectiveLevel()
        process = context.Process(
            target=_work, args=(theirs, self.prior, self.device, level), daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        return ours

    def _answer(self, connection: Connection, cancelled: threading.Event) -> Any:
        """Wait for the answer, and give the fusion up where it must be."""
        end = time.monotonic() + self.limits.seconds
        while not connection.poll(_WAIT_S):
            if cancelled.is_set():
                raise Cancelled
            if time.monotonic() > end:
                raise InputError(
                    f"the fusion took more than the {self.limits.seconds:.0f} s that this server "
                    "allows; ask for fewer steps or a smaller volume."
                )
            if (held := self._held()) > self.limits.memory:
                raise InputError(
                    f"the fusion needs more memory ({held / 2**30:.1f} GiB) than the "
                    f"{self.limits.memory / 2**30:.1f} GiB that this server allows; "
                    "ask for a smaller volume."
                )
        return connection.recv()

    def _held(self) -> int:
        import psutil  # noqa: PLC0415 - of the extra

        try:
            return int(psutil.Process(self.pid).memory_info().rss) if self.pid else 0
        except psutil.Error:
            return 0


def _unwrapped(answer: FusionResult | _Refused | _Failed) -> FusionResult:
    match answer:
        case _Refused(sentence):
            raise InputError(sentence)
        case _Failed(told):
            raise RuntimeError(told)
        case result:
            return result


def _end_with_parent() -> None:
    """End this process when the server is gone, whatever is being fused."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(connection: Connection, prior: Path | None, device: str | None, level: int) -> None:
    """Serve fusions until the connection is closed; the body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the server's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format=LOG_FORMAT)
    logging.getLogger("monai_ddfm").setLevel(level)
    kept: dict[str, Any] = {}
    while True:
        try:
            options = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any
        try:
            kept = kept or cached_prior(prior, device)
            name = Path(options["output_dir"]).parent.name
            answer = run_inference(
                {**options, **kept, "inferer#progress": LogProgress(f"fusion {name}", logger)}
            )
        except InputError as error:
            answer = _Refused(str(error))
        except (MemoryError, torch.OutOfMemoryError):
            answer = _Refused("there is not enough memory; ask for a smaller volume.")
        except Exception:
            answer = _Failed(traceback.format_exc())
        gc.collect()
        try:
            connection.send(answer)
        except OSError:
            return
