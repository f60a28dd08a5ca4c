"""The formats of the volumes that a run leaves, one row each.

A format writes `Maps`: everything that is on the grid of the MRI. A new one is a function that
writes them, in a module of its own, and a row of `FORMATS`; its name then becomes a word of the
option ``format``, see `monai_ddfm.options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from monai_ddfm.data.writers.maps import Maps
from monai_ddfm.data.writers.nifti_maps import NIFTI_NAMES, write_nifti_maps
from monai_ddfm.data.writers.nrrd import NRRD_NAMES, write_nrrd_maps
from monai_ddfm.errors import InputError

__all__ = ["FORMATS", "VOLUME_NAMES", "OutputFormat", "format_named"]


@dataclass(frozen=True, kw_only=True)
class OutputFormat:
    """What is written.

    Attributes:
        names: of the files that `write` may leave.
        write: writes the maps to the paths that a function gives for names; None for no volumes.
        dicom: whether there are DICOM objects, too.
    """

    names: tuple[str, ...] = ()
    write: Callable[[Maps, Callable[[str], Path]], None] | None = None
    dicom: bool = False


FORMATS: Final[Mapping[str, OutputFormat]] = MappingProxyType(
    {
        "nifti": OutputFormat(names=NIFTI_NAMES, write=write_nifti_maps),
        "dicom": OutputFormat(dicom=True),
        "both": OutputFormat(names=NIFTI_NAMES, write=write_nifti_maps, dicom=True),
        "nrrd": OutputFormat(names=NRRD_NAMES, write=write_nrrd_maps),
    }
)

VOLUME_NAMES: Final = tuple(dict.fromkeys(n for row in FORMATS.values() for n in row.names))
"""The names of all files with volumes, whatever the format."""


def format_named(name: str) -> OutputFormat:
    """Return the format called `name`.

    Raises:
        InputError: if there is none.
    """
    try:
        return FORMATS[name]
    except (KeyError, TypeError):
        raise InputError(f"format {name!r} is unknown; use {', '.join(FORMATS)}.") from None
