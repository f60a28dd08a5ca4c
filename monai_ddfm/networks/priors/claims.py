"""What a checkpoint file claims, judged before anything is allocated for it.

A tensor is a view of a storage, and a view may repeat: one byte can be seen as 10^12 elements. An
archive may be compressed, or name the same bytes many times. PyTorch writes neither.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["check_archive", "check_extent"]


def check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is.

    Args:
        path: a file that begins as a ZIP archive.

    Raises:
        InputError: it does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # PyTorch says what is wrong
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError(
            f"{path} unpacks to more than it is, as no file of torch.save does; save the network's "
            "state dict again"
        )


def check_extent(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that have more elements than there are bytes for.

    Args:
        tensors: as they were read, none of them copied yet.
        path: the file.

    Raises:
        InputError: naming the file and the key.
    """
    seen = 0
    size = path.stat().st_size
    for key, value in tensors.items():
        plain = value.layout is torch.strided and not value.is_meta and not value.is_quantized
        if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(
                f"{path}: {key} has more elements than the file has bytes for; save the network's "
                "state dict again"
            )
        seen += value.numel() * value.element_size()
    if seen > size:
        raise InputError(
            f"{path} shows the same bytes in several tensors; save the network's state dict again"
        )
