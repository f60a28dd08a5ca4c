"""One run at a time in an output folder.

The lock is the operating system's: it ends with the process that holds it, however that ends, so
there is never a stale one to remove. The file only tells who holds it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_ddfm.apps.cohort.records import STATE_FOLDER
from monai_ddfm.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["only_run"]


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Hold the lock of an output folder.

    Args:
        out: the folder, which exists.

    Raises:
        InputError: another run holds it, or it cannot be written.
    """
    path = out / STATE_FOLDER / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); choose another folder."
        ) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                who = file.read().strip() or "another process"
                raise InputError(
                    f"{out} is in use by {who}; wait for that run, stop it, or choose another "
                    "folder."
                ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
