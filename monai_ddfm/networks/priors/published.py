"""Published checkpoints that a bundle does not hold: where they are, and fetching one on request.

Nothing here runs unless it is asked for by name. What arrives is hashed while it is written, and
gets its name only if it is the published file; a fetch that is cut off leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors.files import KNOWN_SHA256

__all__ = ["PUBLISHED", "PublishedCheckpoint", "fetch_checkpoint"]

_BLOCK = 1 << 20
_SILENCE_S = 60.0


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A checkpoint that others publish.

    Attributes:
        name: of the file.
        url: where its authors keep it.
        sha256: of the file, in hexadecimal.
        most_bytes: no file larger than this can be it; what comes beyond is not written.
        source: whose it is and under which terms.
    """

    name: str
    url: str
    sha256: str
    most_bytes: int
    source: str


_IMAGENET = "256x256_diffusion_uncond.pt"

PUBLISHED = {
    "imagenet256": PublishedCheckpoint(
        name=_IMAGENET,
        url=f"https://openaipublic.blob.core.windows.net/diffusion/jul-2021/{_IMAGENET}",
        sha256=KNOWN_SHA256[_IMAGENET],
        most_bytes=2_500_000_000,
        source="Dhariwal and Nichol 2021, guided diffusion, MIT license; trained on ImageNet",
    ),
}
"""What `fetch_checkpoint` can be asked for, by short name."""


def fetch_checkpoint(
    published: PublishedCheckpoint,
    folder: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Fetch a checkpoint into a folder, whole and as published or not at all.

    Args:
        published: which one.
        folder: an existing folder.
        progress: called with the number of bytes that have come, after every MiB.

    Returns:
        The file, of the published name.

    Raises:
        InputError: if the folder is missing or the name taken in it, if the file cannot be fetched
            or written, or if it is not the published one.
    """
    target = folder / published.name
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; make it first or give another one")
    if target.exists():
        raise InputError(f"{target} exists already; use it, or remove it first")
    part = folder / f".{published.name}.{os.getpid()}.part"
    try:
        with urllib.request.urlopen(published.url, timeout=_SILENCE_S) as answer:
            found = _write_hashed(answer, part, published, progress)
        if found != published.sha256:
            raise InputError(
                f"{published.url} has the SHA-256 {found} instead of {published.sha256}; "
                "it was cut off or replaced: try again later"
            )
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"{published.url} cannot be fetched into {folder} ({error}); fetch it by other means "
            "and give the file to `monai-ddfm prior convert`"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _write_hashed(
    answer: IO[bytes],
    part: Path,
    published: PublishedCheckpoint,
    progress: Callable[[int], None] | None,
) -> str:
    """Write what comes and return its SHA-256."""
    digest, count = hashlib.sha256(), 0
    with part.open("xb") as file:
        while block := answer.read(_BLOCK):
            count += len(block)
            if count > published.most_bytes:
                raise InputError(
                    f"{published.url} is larger than {published.name}; it was replaced: "
                    "do not use it"
                )
            digest.update(block)
            file.write(block)
            if progress is not None:
                progress(count)
    return digest.hexdigest()
