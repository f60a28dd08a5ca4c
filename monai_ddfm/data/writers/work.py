"""The work folder: finished slices, kept until the results are written.

It lies hidden in the output folder and is called after the run (see
`monai_ddfm.inferers.keeping`), so the same command finds it and any other does not. Every batch of
slices is one file, written under a temporary name, flushed and renamed: a file that is there is
whole. A file that cannot be read all the same, after a power cut on a disk that lies about
flushing, counts as absent, and its slices are computed again.
"""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from monai_ddfm.utils.files import atomic_path, make_folder

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["ClearWorkD", "ClearWorkDict", "ClearWorkd", "WorkFolder"]

_PREFIX = ".ddfm-work-"
_LENGTH = 20

logger = logging.getLogger(__name__)


class WorkFolder:
    """Keeps finished slices in an output folder; a `SliceStore` of the inferer.

    Several processes that share a run may use one folder: each writes files of its own.

    Args:
        output_dir: the folder for the results. Nothing is made there before the first slice is
            finished.
        resume: take what an earlier run has finished; False keeps slices all the same.
    """

    def __init__(self, output_dir: str | Path, *, resume: bool = True) -> None:
        self.output_dir = Path(output_dir).expanduser().absolute()
        self.resume = resume
        self.folder: Path | None = None
        self._held: int | None = None

    def __del__(self) -> None:
        self.release()

    def open(self, name: str) -> dict[int, Tensor]:
        """Return the finished slices of the run of that name, [2, height, width] by number."""
        self.release()
        self.folder = self.output_dir / f"{_PREFIX}{name[:_LENGTH]}"
        finished: dict[int, Tensor] = {}
        for file in sorted(self.folder.glob("*.npz")) if self.resume else []:
            try:
                with np.load(file, allow_pickle=False) as stored:
                    parts = {int(key): torch.from_numpy(stored[key]) for key in stored.files}
            except (OSError, ValueError, zipfile.BadZipFile, EOFError):
                logger.warning("%s is damaged; its slices are computed again", file)
                continue
            finished.update(parts)
        if finished:
            logger.warning("going on where an earlier run stopped: %d slices done", len(finished))
        return finished

    def keep(self, finished: Mapping[int, Tensor]) -> None:
        """Write finished slices to the run's folder.

        Raises:
            InputError: the operating system refuses to write.
        """
        if self.folder is None:
            raise RuntimeError("open the work folder first")
        self._hold()
        arrays = {str(number): part.cpu().numpy() for number, part in finished.items()}
        name = "-".join(str(number) for number in (min(finished), max(finished), len(finished)))
        with atomic_path(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def clear(self) -> None:
        """Remove the folder, and those of stopped runs with other options: results are written.

        What another process is working in stays; it is removed by that one.
        """
        self.release()
        for folder in self.output_dir.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    if fcntl is not None:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(descriptor)

    def _hold(self) -> None:
        """Make the folder and hold it, with all who share the run, as long as this process lives.

        Another run that ends between the two would remove it; then it is made again.
        """
        assert self.folder is not None
        while self._held is None or not self.folder.is_dir():
            self.release()
            make_folder(self.folder)
            with suppress(FileNotFoundError):
                self._held = os.open(self.folder, os.O_RDONLY)
                if fcntl is not None:
                    with suppress(OSError):  # a file system without locks
                        fcntl.flock(self._held, fcntl.LOCK_SH)

    def release(self) -> None:
        """Let others remove the folder; the next slice that is kept takes hold of it again."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


class ClearWorkd(Transform):  # type: ignore[misc]
    """Remove the work folder; the end of a configuration's chain, when all is written.

    Args:
        work: the folder that the inferer keeps its slices in.
    """

    def __init__(self, work: WorkFolder) -> None:
        self.work = work

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case as it is."""
        self.work.clear()
        return dict(data)


ClearWorkD = ClearWorkDict = ClearWorkd
