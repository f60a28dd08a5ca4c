"""Inputs and outputs apart: nothing that is read may be among what is written or removed.

Places are compared by what they are and not by how they are spelled: links are followed, and so is
the folder of a name that is written, for what is replaced there is the name itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from monai_ddfm.errors import InputError

__all__ = ["check_apart", "check_ordinary", "is_inside", "real"]


def real(path: str | Path) -> Path:
    """Return a path without links and dots; what does not exist keeps its name."""
    given = Path(path).expanduser().absolute()
    try:
        return given.resolve()
    except (OSError, RuntimeError, ValueError):  # a link that leads to itself, or no path at all
        return given


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Whether a path is a folder or lies in it, links followed."""
    return real(path).is_relative_to(real(folder))


def check_apart(
    inputs: Mapping[str, str | Path | None],
    *,
    written: Iterable[Path],
    cleared: Iterable[Path] = (),
    mixed: Iterable[Path] = (),
) -> None:
    """Refuse inputs that would be overwritten, removed, or mixed with results.

    Args:
        inputs: what is read, by a word for it; None and what does not exist are passed over.
        written: files that are written or removed.
        cleared: folders of which anything may be removed.
        mixed: what is written and must not come to lie in a folder that is read.

    Raises:
        InputError: naming the input and the place.
    """
    targets = _Targets(written)
    folders = [(folder, real(folder)) for folder in cleared]
    apart = [(path, real(path)) for path in mixed]
    for word, given in inputs.items():
        if given is None or not (path := Path(given).expanduser()).exists():
            continue
        names = _names(path)
        for folder, at in folders:
            if any(name.is_relative_to(at) for name in names):
                raise InputError(
                    f"{path} ({word}) lies in {folder}, whose files a run replaces; choose another "
                    "output folder."
                )
        if (over := targets.of(path)) is not None:
            raise InputError(
                f"{over} would be written over {path} ({word}); choose another place for the "
                "results."
            )
        inside = real(path)
        within = next((p for p, at in apart if path.is_dir() and at.is_relative_to(inside)), None)
        if within is not None:
            raise InputError(
                f"{within} would be written into {path} ({word}), which is read; choose another "
                "output folder."
            )


class _Targets:
    """Files that will be written, to be found by any of their names."""

    def __init__(self, written: Iterable[Path]) -> None:
        self._names: dict[Path, Path] = {}
        self._files: dict[tuple[int, int], Path] = {}
        for path in written:
            self._names |= dict.fromkeys(_names(path), path)
            if (number := _number(path)) is not None:
                self._files[number] = path

    def of(self, path: Path) -> Path | None:
        """Return the target that this file is, if any."""
        for name in _names(path):
            if name in self._names:
                return self._names[name]
        # Other spellings of one name, where the file system has such.
        number = _number(path)
        return None if number is None else self._files.get(number)


def _names(path: Path) -> tuple[Path, ...]:
    """Return a name in its real folder, itself not followed; and what it leads to."""
    return real(path.absolute().parent) / path.name, real(path)


def _number(path: Path) -> tuple[int, int] | None:
    with suppress(OSError, ValueError):
        about = path.stat()
        return about.st_dev, about.st_ino
    return None


def check_ordinary(path: Path) -> None:
    """Refuse what would be waited for, or read, for ever: a pipe, a device.

    Args:
        path: of a small file that is read as a whole; one that is missing is for its reader to say.

    Raises:
        InputError: it is neither an ordinary file nor a folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is no ordinary file; give one.")
