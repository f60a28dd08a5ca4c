"""Files that are either complete or absent.

A file is written under a temporary name in the folder it will end in, flushed to the disk and only
then renamed, which a POSIX file system does in one step. `atomic_path` does so for one file,
`StagedFolder` for the whole set that a run leaves: nothing appears under its final name before
everything has been written, and one file, the marker, appears last. Where the marker stands, the
set is complete.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from monai_ddfm.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: leftovers of a killed run then stay until somebody removes them
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "NOTICE",
    "OWN_MANUFACTURER",
    "StagedFolder",
    "atomic_path",
    "make_folder",
    "only_one",
    "prepare_output_dir",
    "replace_file",
    "sync",
    "write_text",
]

NOTICE = "research use only - not for diagnosis"
"""What everything that leaves the program says."""

OWN_MANUFACTURER = "monai_ddfm"
"""How DICOM images of this program name their maker, so that they are told from sources."""

_STAGING_PREFIX = ".ddfm-partial-"
_LOCK = ".lock"
_ATTEMPTS = 20
_MENDS = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "writing there is not permitted: choose another folder",
    errno.EPERM: "writing there is not permitted: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EEXIST: "a file stands where a folder is needed: choose another folder",
    errno.EISDIR: "a folder of that name is in the way: remove it or choose another folder",
    errno.ENAMETOOLONG: "the path is too long: choose a shorter one",
}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into one sentence with a mend."""
    try:
        yield
    except OSError as error:
        refusal = _first_with_number(error)
        words = str(refusal.strerror or refusal).splitlines()[0]
        mend = _MENDS.get(refusal.errno or 0, f"{words}: choose another folder")
        shown = Path(*(part for part in path.parts if not part.startswith(_STAGING_PREFIX)))
        raise InputError(f"Cannot write {shown}: {mend}.") from error


def _first_with_number(error: OSError) -> OSError:
    """Return what the operating system said; libraries wrap it in errors of their own words."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno is not None:
            return found
        found = found.__cause__ or found.__context__
    return error


def sync(path: Path) -> None:
    """Flush a file or folder to the disk.

    Args:
        path: what must survive a power cut from here on.
    """
    if path.is_dir():
        with suppress(OSError):  # Windows and some network file systems cannot flush a folder
            _fsync(path, os.O_RDONLY)
    else:
        _fsync(path, os.O_RDWR)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name to write to, and rename it to `path` when the block has succeeded.

    Args:
        path: the final name; its folder must exist. The temporary name lies in the same folder and
            keeps all suffixes, so that writers which go by the suffix work.

    Yields:
        The temporary path.

    Raises:
        InputError: the operating system refuses to write.
    """
    final = Path(path)
    with _explained(final):
        temporary = final.with_name(f".{secrets.token_hex(4)}-{final.name}")
        try:
            yield temporary
            sync(temporary)
            temporary.replace(final)
            sync(final.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let a library fill a file beside `path`, then give it that name.

    Args:
        path: final name; its folder is made if need be.
        write: called with the temporary path.

    Raises:
        InputError: if the folder cannot be written or the disk is full; an older file stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError on a full disk
        raise InputError(
            f"{path} cannot be written ({str(error).splitlines()[0]}); free disk space or name "
            "another output folder"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all.

    Args:
        path: the file.
        text: what is not UTF-8 in it, such as a name of an old file, becomes an escape.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def prepare_output_dir(path: str | Path, *, names: Iterable[str] = ()) -> Path:
    """Make sure, before anything is computed, that results can be written to a folder later.

    The folder is made and written to as a trial, and everything made for the trial is removed
    again: a run that fails afterwards leaves nothing behind.

    Args:
        path: the folder for the results; it need not exist yet.
        names: files that will be written there.

    Returns:
        The absolute path.

    Raises:
        InputError: the folder cannot be made or written to, or a folder bears the name of a file.
    """
    if not str(path).strip() or "\0" in str(path):
        raise InputError(f"The output folder {str(path)!r} is not a path: name a folder.")
    folder = Path(path).expanduser().absolute()
    with _explained(folder):
        if _is_no_folder(folder):
            raise InputError(f"Cannot write to {folder}: it is a file, so name a folder instead.")
        _insist(lambda: _try_writing(folder))
    for name in names:
        if (folder / name).is_dir():
            raise InputError(f"Cannot write {folder / name}: {_MENDS[errno.EISDIR]}.")
    return folder


def _is_no_folder(path: Path) -> bool:
    """Whether something else is there; asked once, for another run may make and remove it."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _try_writing(folder: Path) -> None:
    made = _make_folders(folder)
    try:
        with (
            only_one(folder),  # within it, a trial that is there is that of a killed run
            # What is not buffered cannot fail a second time when the file is closed.
            tempfile.NamedTemporaryFile(prefix=_STAGING_PREFIX, dir=folder, buffering=0) as trial,
        ):
            trial.write(b"\0" * 4096)
            os.fsync(trial.fileno())
    finally:
        _remove_empty(made)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, if they do not exist.

    Raises:
        InputError: the operating system refuses.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)


class StagedFolder:
    """A set of files that appears in a folder all at once, or not at all.

    Use as a context manager: write to `path(name)`, for any number of names. If the block succeeds,
    everything is flushed and renamed into the folder, the marker last; if it fails, the temporary
    files are removed and earlier results stay as they were. Only a crash within the renaming itself
    (milliseconds) can leave new files without the marker, and never a half-written one. Two
    processes rename one after the other, so that the set is one of theirs. What earlier, killed
    runs have left under temporary names is swept away.

    Args:
        folder: where the files end; made if it does not exist.
        marker: the name that is renamed last, for instance ``provenance.json``.
        owned: names that belong to the set even if this run does not write them: those are removed
            with the renaming, so that files of two runs never stand side by side.
        inner: names of the set that mark a part of it: they go first and come just before `marker`.

    Raises:
        InputError: the operating system refuses to write.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        marker: str,
        owned: Iterable[str] = (),
        inner: Iterable[str] = (),
    ) -> None:
        self.marker = marker
        self.inner = tuple(inner)
        self.owned = tuple(owned)
        self.folder = prepare_output_dir(folder, names=(*self.owned, *self.inner, marker))
        self._made: list[Path] = []
        self._staging: Path | None = None
        self._lock: IO[bytes] | None = None

    def path(self, name: str) -> Path:
        """Return the temporary path of the file that will be called `name`.

        Args:
            name: file name, with folders before it if the set has any.
        """
        if self._staging is None:
            raise RuntimeError("enter the StagedFolder first")
        path = self._staging / name
        if not path.resolve().is_relative_to(self._staging.resolve()):
            raise ValueError(f"{name!r} leads out of the output folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def __enter__(self) -> StagedFolder:
        with _explained(self.folder):
            _insist(self._stage)
        return self

    def _stage(self) -> None:
        self._made = _make_folders(self.folder)
        with only_one(self.folder):  # a folder that is not locked yet looks like a leftover
            _sweep(self.folder)
            self._staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=self.folder))
            self._lock = (self._staging / _LOCK).open("wb")
            _try_lock(self._lock)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        complete = False
        try:
            with _explained(self.folder):
                if kind is None:
                    self._commit()
                    complete = True
                elif isinstance(error, OSError):
                    raise error
        finally:
            if self._lock is not None:
                self._lock.close()
            if self._staging is not None:
                shutil.rmtree(self._staging, ignore_errors=True)
            if not complete:
                _remove_empty(self._made)

    def _commit(self) -> None:
        if self._staging is None:
            raise RuntimeError("enter the StagedFolder first")
        files = [file for file in sorted(self._staging.rglob("*")) if file.is_file()]
        names = [file.relative_to(self._staging) for file in files if file.name != _LOCK]
        if Path(self.marker) not in names:
            raise RuntimeError(f"the marker {self.marker} has not been written")
        for name in names:
            sync(self._staging / name)
        with only_one(self.folder):
            self._replace(self._staging, names)

    def _replace(self, staging: Path, names: list[Path]) -> None:
        """Put the new set in the place of the old one."""
        marks = [*map(Path, self.inner), Path(self.marker)]
        # From here to the end the marker is absent: a crash cannot pass a mixture off as complete.
        for mark in reversed(marks):
            if (self.folder / mark).exists():
                (self.folder / mark).unlink()
                sync((self.folder / mark).parent)
        for owned in self.owned:
            if Path(owned) not in names:
                (self.folder / owned).unlink(missing_ok=True)
        parts = [name for name in names if name not in marks]
        for name in parts:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(self.folder / name)
        for parent in {(self.folder / name).parent for name in parts}:
            sync(parent)
        for mark in (mark for mark in marks if mark in names):
            (self.folder / mark).parent.mkdir(parents=True, exist_ok=True)
            (staging / mark).replace(self.folder / mark)
            sync((self.folder / mark).parent)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder.

    The lock is the operating system's, on the folder itself: it leaves no file, and ends with the
    process that holds it. Where there are no such locks, nothing is waited for.

    Args:
        folder: an existing folder.
    """
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _insist(step: Callable[[], None]) -> None:
    """Make a folder and write into it, again if another run's trial has removed it in between."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            return step()
    return step()


def _make_folders(folder: Path) -> list[Path]:
    """Make `folder` and its parents; return those that were missing, the deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _try_lock(file: IO[bytes]) -> bool:
    """Lock `file` as long as this process lives; False if another live process holds it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove staging folders whose run is dead, which shows by their lock being free.

    Call it within `only_one`.
    """
    for leftover in folder.glob(_STAGING_PREFIX + "*"):
        if leftover.is_file() and not leftover.is_symlink():
            leftover.unlink(missing_ok=True)  # the trial of a run that was killed at its beginning
            continue
        with suppress(OSError), (leftover / _LOCK).open("rb") as lock:
            if _try_lock(lock):
                shutil.rmtree(leftover, ignore_errors=True)
