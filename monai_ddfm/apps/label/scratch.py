"""Folders that go with the process that made them.

A process that is killed leaves its folders behind. Each is locked as long as its process lives, so
the next one can tell what is left from what is in use, and removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: leftovers then stay
    fcntl = None  # type: ignore[assignment]

__all__ = ["Scratch", "sweep"]


class Scratch:
    """A new folder, locked until it is removed or this process ends.

    Args:
        prefix: of its name.
        place: folder to make it in.
    """

    def __init__(self, prefix: str, place: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        self._descriptor: int | None = os.open(self.path, os.O_RDONLY)
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __del__(self) -> None:
        self._release()

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            self._descriptor = None
            os.close(descriptor)


def sweep(prefix: str, place: Path) -> int:
    """Remove folders whose process is gone; returns how many.

    Args:
        prefix: of their names.
        place: where they are.
    """
    if fcntl is None:
        return 0
    swept = 0
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                if os.fstat(descriptor).st_uid != os.getuid():
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
            finally:
                os.close(descriptor)
    return swept
