"""What a result depends on: the content of the inputs, the options, the prior, and the program.

A fingerprint is the SHA-256 of all of it. Hashing a large cohort takes minutes, so a record also
keeps a stamp of each input file: size, times of the last change of content and of entry, inode.
Where no stamp has changed, no content has; where one has, the content decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_ddfm.apps.cohort.cases import Case
from monai_ddfm.errors import InputError
from monai_ddfm.options import all_options
from monai_ddfm.utils.hashes import describe_file, describe_input
from monai_ddfm.version import __version__

__all__ = ["Settings", "content_of", "options_digest", "stamps_of"]


@dataclass(frozen=True)
class Settings:
    """How all cases of a run are fused.

    Attributes:
        options: of the bundle's configuration, by name; plain values and paths.
        prior: another prior than the bundle's.
        device: where to compute.
        program: SHA-256 of what else decides the result, see `options_digest`.
    """

    options: Mapping[str, Any]
    prior: Path | None = None
    device: str | None = None
    program: str = ""

    @property
    def deidentify(self) -> bool:
        """Whether nothing that names the patient may be written."""
        return bool(self.options.get("deidentify"))


def options_digest(
    options: Mapping[str, Any], *, prior: Path, config: Path, device: str | None
) -> str:
    """Return the SHA-256 of options, prior, pipeline and version.

    Args:
        options: of the configuration. Those that change no result, and values that hold anyway, do
            not count: a digest stays the same when an option is added. Of a file its content
            counts.
        prior: the checkpoint.
        config: the configuration file.
        device: as given.

    Raises:
        InputError: a file cannot be read.
    """
    counted = {
        name: sorted(describe_file(value).items()) if isinstance(value, Path) else value
        for name, value in sorted(options.items())
        if value is not None and _counts(name, value)
    }
    return _digest(
        {
            "options": counted,
            "device": device,
            "prior": describe_file(prior)["sha256"],
            "pipeline": describe_file(config)["sha256"],
            "version": __version__,
        }
    )


def _counts(name: str, value: Any) -> bool:
    option = all_options().get(name)
    return option is None or (option.changes_results and value != option.default)


def content_of(case: Case, settings: Settings) -> str:
    """Return the fingerprint of a case; reads its files whole.

    Raises:
        InputError: a file cannot be read.
    """
    inputs = {
        role: [describe_input(path)["sha256"] for path in files]
        for role, files in case.files.items()
    }
    about = [case.title, case.space]
    return _digest({"inputs": inputs, "program": settings.program, "about": about})


def stamps_of(case: Case) -> str:
    """Return the digest of the stamps of a case's files; reads none of them.

    Raises:
        InputError: a file is not there.
    """
    stamps = []
    for role, files in case.files.items():
        for name in files:
            path = Path(name)
            members = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            stamps += [[role, str(member), *_stamp(member)] for member in members]
    return _digest({"stamps": stamps, "about": [case.title, case.space]})


def _stamp(path: Path) -> tuple[int, int, int, int]:
    try:
        about = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
