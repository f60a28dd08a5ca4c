"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_ddfm.errors import InputError

__all__ = ["ready_folder", "whole_file", "whole_folder"]


def ready_folder(folder: Path) -> None:
    """Make `folder` and see that it can be written to.

    Args:
        folder: created with its parents where missing.

    Raises:
        InputError: it is a file, or may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the folder {folder} ({error.strerror}): choose another output folder"
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, which becomes `path` when the block ends well.

    Args:
        path: the final name; an older file is replaced.

    Yields:
        The name to write to; it has the same endings as `path`.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, suffix: str) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, which becomes `folder` when the block ends well.

    Args:
        folder: the final name; an older folder is replaced if it holds nothing of the user's.
        suffix: ending of the files that such a folder holds; others are the user's.

    Yields:
        The empty folder to write to.

    Raises:
        InputError: `folder` exists and is a file, or holds other things than files with `suffix`.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file where a folder is needed: move it or choose another name"
        )
    if folder.is_dir() and any(f.suffix != suffix or not f.is_file() for f in folder.iterdir()):
        raise InputError(
            f"the folder {folder} holds other things than {suffix} files and is not replaced: "
            "move it or choose another output folder"
        )
    temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
    old = folder.with_name(f".{os.getpid()}-{folder.name}-old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if folder.is_dir():
            folder.replace(old)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
