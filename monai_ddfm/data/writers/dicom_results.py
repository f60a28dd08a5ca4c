"""The folder of DICOM results beside the other results: its names, and what of it is of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from monai_ddfm.sources import Source

__all__ = [
    "DICOM_FOLDER",
    "DICOM_INDEX",
    "DICOM_MARK",
    "ROLES",
    "DicomPart",
    "is_of_runs",
    "objects_in",
    "results_in",
    "role_folders",
    "roles_of",
]

DICOM_FOLDER = "dicom"
_INDEX = "index.json"
DICOM_INDEX = f"{DICOM_FOLDER}/{_INDEX}"
DICOM_MARK = ".monai-ddfm"
"""Says that the folder is of runs, from the first on and whatever happens to later ones."""
ROLES = (
    "fused",
    "fused_rgb",
    "moving_registered",
    "weight",
    "registration",
    "presentation",
    "fixed",
)
"""The series of a run, each in a folder of this name; the first has the lowest number."""
_EACH = ("moving_registered", "weight", "registration")
_OF_A_SOURCE = re.compile(f"(?:{'|'.join(_EACH)})_[a-z0-9]+")
_FILE = re.compile(r"^\d{4,}\.dcm$")


def roles_of(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the series of a run: of several moving volumes, each has series with its name."""
    return tuple(
        dict.fromkeys(
            source.called(role) if role in _EACH else role for role in ROLES for source in sources
        )
    )


class DicomPart(Protocol):
    """Writes DICOM objects as a part of a larger set; see `SaveFusionDicomd`."""

    output_key: str

    def owned(self) -> list[str]:
        """Return the objects of an earlier run, by their names in the folder."""

    def stage(self, data: Mapping[Hashable, Any], path: Callable[[str], Path]) -> Any:
        """Write the objects under temporary names; returns what `finish` takes."""

    def finish(self, data: Mapping[Hashable, Any], *staged: Any) -> dict[str, Any]:
        """Do what is left to do when all is in its place; returns the summary."""


def is_of_runs(folder: Path) -> bool:
    """Whether a run has written to a folder of DICOM results; a killed one may have no index."""
    return any((folder / name).is_file() for name in (DICOM_MARK, _INDEX))


def objects_in(folder: Path) -> list[str]:
    """Return the objects that lie where those of a run would, by their names in the folder."""
    found = (path for role in role_folders(folder) for path in role.glob("*.dcm"))
    return sorted(str(path.relative_to(folder)) for path in found if _FILE.match(path.name))


def role_folders(folder: Path) -> list[Path]:
    """Return the folders of series of runs, whatever moving volumes they had."""
    inner = sorted(path for path in folder.glob("*_*") if _OF_A_SOURCE.fullmatch(path.name))
    return [*(folder / role for role in ROLES), *inner]


def results_in(folder: Path) -> list[str]:
    """Return the objects of an earlier run; none where no run has written."""
    return objects_in(folder) if is_of_runs(folder) else []
