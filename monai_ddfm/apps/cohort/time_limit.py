"""A limit on the time that a case may take, also where it hangs in code that heeds nobody.

The process of the worker is ended by a clock that needs neither the interpreter nor its lock. It
leaves a note that says where the case was, by which a case that took too long is told from one
whose worker was lost.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monai_ddfm.errors import InputError

__all__ = ["ending_process", "took_too_long"]


@contextmanager
def ending_process(work: Path, key: str, seconds: float) -> Iterator[None]:
    """End this process if the block takes longer.

    Args:
        work: folder for work in progress; the note goes there.
        key: name of the case.
        seconds: 0 for any time.
    """
    if not seconds:
        yield
        return
    note = _note(work, key)
    try:
        file = note.open("wb", buffering=0)
    except OSError as error:
        raise InputError(
            f"the work folder cannot be written ({error.strerror}); make room there."
        ) from error
    with file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            note.unlink(missing_ok=True)


def took_too_long(work: Path, key: str) -> bool:
    """Whether a case has ended its process because its time was over; asks once only.

    Args:
        work: folder for work in progress.
        key: name of the case.
    """
    note = _note(work, key)
    with suppress(OSError):
        if note.stat().st_size:
            note.unlink()
            return True
    return False


def _note(work: Path, key: str) -> Path:
    return work / f"{key}.where"
