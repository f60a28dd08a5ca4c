"""Files of a training run: each is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from monai_ddfm.errors import InputError

__all__ = ["replace_file", "save_atomically"]


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then give it that name.

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


def save_atomically(content: Any, path: Path) -> None:
    """`torch.save` to a temporary name beside `path`, then rename.

    Args:
        content: what to save.
        path: final name; its folder is made if need be.

    Raises:
        InputError: if the folder cannot be written or the disk is full; an older file stays.
    """
    replace_file(path, lambda part: torch.save(content, part))
