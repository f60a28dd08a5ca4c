"""How a run ends that ends badly, and not by a mistake that somebody has thought of.

What the machine refuses (memory, a disk, a file) and what the user stops is no fault of the
program: it gets a sentence. Only what is left is shown as a traceback, for whoever mends it.
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["explanation", "noting_interrupts", "was_interrupted"]

_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "t allocate memory",
    "cannot allocate",
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
    "failed to map segment",
    "can't start new thread",
    "unable to allocate",
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it arose from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is what an error arose from."""
    return any(isinstance(one, KeyboardInterrupt) for one in _chain(error))


@contextmanager
def noting_interrupts(seen: list[int]) -> Iterator[None]:
    """Take note of Ctrl-C within a block, for libraries make other errors of it, or none.

    Args:
        seen: gets the number of the signal, each time.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not main:
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def explanation(error: BaseException) -> str | None:
    """Say in one sentence what the machine refuses.

    Args:
        error: what has ended a run.

    Returns:
        The sentence; None if it is none of these.
    """
    chain = list(_chain(error))
    if any(_is_of_memory(one) for one in chain):
        return (
            "there is not enough memory for this; give a smaller volume or a larger --spacing, or "
            "run it where there is more."
        )
    if any(isinstance(one, RecursionError) for one in chain):
        return "something given is nested too deep to be read; check the files and options."
    for one in chain:
        if isinstance(one, OSError) and (one.strerror or str(one)):
            return _of_system(one)
    return None


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    told = str(error).lower()
    kinds = (RuntimeError, ImportError, OSError, SystemError)
    return isinstance(error, kinds) and any(words in told for words in _OF_MEMORY)


def _of_system(error: OSError) -> str:
    words = " ".join(str(error.strerror or error).split())
    words = f"{words[0].lower()}{words[1:].rstrip('.')}"
    if error.errno in _DISK_FULL:
        return f"the disk is full ({error.filename or 'a temporary file'}); free some space."
    if "temporary directory" in words or "cache directory" in words:
        return f"{words.replace('. ', '; ')}; set TMPDIR to a folder that can be written to."
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{words.replace('. ', '; ')}; check that it is there and may be used."
