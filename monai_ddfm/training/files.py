"""Files of a training run: each is written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_ddfm.utils.files import replace_file

__all__ = ["save_atomically"]


def save_atomically(content: Any, path: Path) -> None:
    """`torch.save` to a temporary name beside `path`, then rename.

    Args:
        content: what to save.
        path: final name; its folder is made if need be.

    Raises:
        InputError: if the folder cannot be written or the disk is full; an older file stays.
    """
    replace_file(path, lambda part: torch.save(content, part))
