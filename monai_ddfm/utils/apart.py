"""Work in a process of its own, so that its death is an answer and not the end of the program.

Some libraries crash on damaged files, and nothing in the same process survives that. What reads
such a file runs as ``python -m module arguments`` with a limit on memory and time; it says nothing
and ends with status 0, or writes one line that says why not.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["DiedError", "limit_own_memory", "run_apart"]

_LONGEST = 160


class DiedError(Exception):
    """The process did not do its work; the message is a clause that says what happened."""


def run_apart(module: str, *arguments: str, seconds: float) -> None:
    """Run a module of this package in a process of its own and wait for it.

    Args:
        module: to run as a program; it should import little.
        arguments: of the program.
        seconds: that it may take.

    Raises:
        DiedError: it crashed, took too long, or ended with a status other than 0.
    """
    # -P: a module of the folder that the user happens to be in must not be taken for one of ours.
    call = [sys.executable, "-P", "-m", module, *arguments]
    try:
        ended = subprocess.run(call, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise DiedError(f"reading it takes more than {seconds:.0f} s") from error
    except OSError as error:
        raise DiedError(f"no process could be started ({error.strerror})") from error
    if ended.returncode < 0:
        raise DiedError(f"the library that reads it crashes (signal {-ended.returncode})")
    if ended.returncode:
        told = ended.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise DiedError(told[-1][:_LONGEST])


def limit_own_memory(size: int) -> None:
    """Let this process take so many bytes and leave no image of itself when it crashes.

    Args:
        size: bytes of address space; more than the limit there is changes nothing.
    """
    if resource is None:
        return
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
