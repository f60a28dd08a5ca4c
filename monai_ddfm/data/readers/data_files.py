"""Headers that keep their voxels in another file: which file that may be.

Whoever writes a header decides which file is read as voxels. A name that leads elsewhere would turn
any file of the machine into gray values. So a header may name one file of its own folder, by its
plain name, when a person has given the header; a file from somebody else has to bring its voxels
along.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from monai_ddfm.errors import InputError

__all__ = ["beside"]

_PATTERN = re.compile(r"%[-+ #0]*\d*l?[diuxX]")


def beside(header: Path, name: str, *, alone: bool) -> Path:
    """Return the file in which a header says its voxels are.

    Args:
        header: the header's file.
        name: what it names.
        alone: whether the header must not name any file.

    Raises:
        InputError: it must not, the name is no plain one, or there is no ordinary file of it.
    """
    shown = repr(name if len(name) <= 60 else f"{name[:57]}...")
    if alone:
        raise InputError(
            f"{header.name} names another file ({shown}) for its voxels, which is not read here; "
            "give a volume in one file."
        )
    if re.match(r"list\b", name, re.IGNORECASE) or _PATTERN.search(name):
        raise InputError(
            f"{header} keeps its voxels in several files ({shown}), which is not read; save the "
            "volume in one file."
        )
    if not name or name in (".", "..") or re.search(r"[/\\:\x00-\x1f]", name):
        raise InputError(
            f"{header} names {shown} for its voxels, which is no plain name of a file beside it; "
            "put both in one folder and correct the name."
        )
    path = header.with_name(name)
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"{header} keeps its voxels in {shown}, which is not beside it; give both files."
        ) from error
    if not stat.S_ISREG(kind):
        raise InputError(
            f"{header} keeps its voxels in {shown}, which is no ordinary file; give one."
        )
    # Data sets of links (git-annex) link both files; a link from an ordinary folder leads astray.
    if not header.is_symlink() and path.resolve().parent != header.resolve().parent:
        raise InputError(
            f"{header} keeps its voxels in {shown}, a link that leads out of the folder; put the "
            "file itself there."
        )
    return path
