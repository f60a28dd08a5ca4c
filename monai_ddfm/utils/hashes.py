"""SHA-256 of files and of folders.

The SHA-256 of a folder (a DICOM series) is that of the lines ``<SHA-256 of a file>  <its path in
the folder>``, sorted by path, of its ordinary files. ``sha256sum`` writes such lines, so anybody
can check it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from monai_ddfm.errors import InputError

__all__ = ["describe_file", "describe_input", "sha256_of"]


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder as the module's text defines it.

    Args:
        path: a file or folder.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: something there cannot be read.
    """
    return str(describe_input(path)["sha256"])


def describe_input(path: str | Path) -> dict[str, Any]:
    """Say what a file or folder holds, so that it can be recognized again.

    Args:
        path: a file or folder.

    Returns:
        ``path`` (absolute), ``kind`` ("file" or "folder"), ``files`` (how many), ``bytes`` and
        ``sha256``.

    Raises:
        InputError: something there cannot be read.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_dir():
        return {"path": str(path), "kind": "file", "files": 1, **describe_file(path)}
    files = sorted(
        # Pipes and devices hold no data of a series, and reading them may never end.
        (
            f
            for folder, _, names in os.walk(path)
            for f in map(Path(folder).joinpath, names)
            if f.is_file()
        ),
        key=lambda file: file.relative_to(path).as_posix(),
    )
    digest, size = hashlib.sha256(), 0
    for file in files:
        one = describe_file(file)
        digest.update(os.fsencode(f"{one['sha256']}  {file.relative_to(path).as_posix()}\n"))
        size += one["bytes"]
    return {
        "path": str(path),
        "kind": "folder",
        "files": len(files),
        "bytes": size,
        "sha256": digest.hexdigest(),
    }


def describe_file(path: str | Path) -> dict[str, Any]:
    """Return ``bytes`` and ``sha256`` of one file.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return {"bytes": file.tell(), "sha256": digest.hexdigest()}
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}; check the path.") from error
