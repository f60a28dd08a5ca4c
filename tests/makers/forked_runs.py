"""Processes of their own that need not load anything, for loading takes longer than most runs.

Before the first test, when all tests are loaded and nothing has been computed, the tests' process
forks one that waits. Whatever is to run in a process of its own is forked from that one. None of
them may use a GPU, which does not outlive a fork.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch


class Ended(NamedTuple):
    """How a run has ended."""

    folder: Path
    stdout: str
    stderr: str
    status: int


@dataclass(frozen=True)
class Run:
    """What a process is to do.

    Attributes:
        work: a function of a module, called with `arguments`.
        arguments: its arguments.
        folder: where it runs.
        environment: variables beside those of the tests.
    """

    work: Callable[..., Any]
    arguments: Sequence[Any]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class LoadedProcess:
    """The process that others are forked from; begins with this object."""

    def __init__(self) -> None:
        self._ours, theirs = Pipe()
        self._child = os.fork()
        if not self._child:
            self._ours.close()
            _serve(theirs)
        theirs.close()

    def run(self, runs: Sequence[Run], said: Path, *, seconds: float = 600) -> list[Ended]:
        """Do these, one beside the other.

        Args:
            runs: what to do.
            said: a folder for what is said.
            seconds: they may take at most.
        """
        self._ours.send((runs, said))
        assert self._ours.poll(seconds), f"not done after {seconds:.0f} s"
        found = []
        for number, (run, status) in enumerate(zip(runs, self._ours.recv(), strict=True)):
            told = (path.read_text(encoding="utf-8") for path in _files(said, number))
            found.append(Ended(run.folder, *told, status))
        return found

    def end(self) -> None:
        """Have the process end."""
        self._ours.close()
        os.waitpid(self._child, 0)


def module(name: str, *arguments: str) -> None:
    """Be ``python -m NAME ARGUMENTS``, to its end."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def script(path: str, *arguments: str) -> None:
    """Be ``python PATH ARGUMENTS``, to its end."""
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def _files(said: Path, number: int) -> list[Path]:
    return [said / f"{number}.{name}" for name in ("out", "err")]


def _serve(theirs: Connection) -> NoReturn:
    """Fork a process for every run that is asked for, until the tests' process ends."""
    try:
        while True:
            runs, said = theirs.recv()
            children = []
            for number, run in enumerate(runs):
                child = os.fork()
                if not child:
                    _do(run, _files(said, number))
                children.append(child)
            theirs.send([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)  # never back into the tests


def _do(run: Run, said: Sequence[Path]) -> NoReturn:
    """Do it, and end as a process of its own would."""
    status: Any = 1
    try:
        for stream, path in zip((1, 2), said, strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", encoding="utf-8") for stream in (1, 2))
        logging.root.handlers.clear()  # those of pytest
        os.chdir(run.folder)
        os.environ |= run.environment
        torch.set_num_threads(1)
        run.work(*run.arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        if isinstance(status, str):
            print(status, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else bool(status))
