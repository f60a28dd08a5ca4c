"""What the text headers of NRRD and MetaImage say, and do not say, about space.

ITK fills in what is missing: voxels of 1 mm, axes along left, posterior and superior, millimeters.
Sources: Teem's definition of the NRRD format, sections 4 and 7; MetaIO's list of tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_ddfm.errors import InputError

__all__ = ["fields_of", "millimeters", "placement_notes"]

_MOST_BYTES = 1 << 20
_NRRD = (".nrrd", ".nhdr")
_NOWHERE = "the header does not place the volume in space: its axes and its centre are assumed"
_UNITS = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimeters": 1.0,
    "millimetre": 1.0,
    "millimetres": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "centimeters": 10.0,
    "m": 1000.0,
    "meter": 1000.0,
    "meters": 1000.0,
    "um": 0.001,
    "\u00b5m": 0.001,
    "micron": 0.001,
    "microns": 0.001,
    "micrometer": 0.001,
    "micrometers": 0.001,
}
_ANATOMICAL = {
    "right-anterior-superior",
    "left-anterior-superior",
    "left-posterior-superior",
    "right-anterior-superior-time",
    "left-anterior-superior-time",
    "left-posterior-superior-time",
    "ras",
    "las",
    "lps",
    "rast",
    "last",
    "lpst",
}


def fields_of(path: Path) -> dict[str, str]:
    """Return the fields of the header by name in small letters.

    Args:
        path: an NRRD or MetaImage file, which ITK could read.
    """
    with path.open("rb") as stream:
        text = stream.read(_MOST_BYTES).decode("latin-1")
    separator = ":" if path.suffix.lower() in _NRRD else "="
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if separator == ":" and not line.strip():
            break
        name, found, value = line.partition(separator)
        if line.startswith("#") or not found:
            continue
        fields[name.strip().lower()] = value.lstrip("=").strip()
        if name.strip().lower() == "elementdatafile":
            break
    return fields


def millimeters(fields: Mapping[str, str], path: Path) -> float:
    """Return the millimeters of one unit of the header.

    Args:
        fields: of the header.
        path: its file, for messages.

    Raises:
        InputError: the axes have different units, or one that is not known.
    """
    units = fields.get("space units") or fields.get("units") or fields.get("distanceunits") or ""
    named = {word.lower() for word in units.replace('"', " ").split() if word.strip("?")}
    spatial = named - {"none", "s", "ms", "sec", "seconds"}
    if not spatial:
        return 1.0
    if len(spatial) > 1 or not spatial <= _UNITS.keys():
        raise InputError(
            f"{path} measures space in {' and '.join(sorted(spatial))}; give a volume in mm."
        )
    return _UNITS[spatial.pop()]


def placement_notes(
    fields: Mapping[str, str], direction: npt.NDArray[np.float64], path: Path
) -> list[str]:
    """Say what is assumed about the place of a volume.

    Args:
        fields: of the header.
        direction: [3, 3] of the axes in LPS, as it was read.
        path: its file, whose ending tells the format.
    """
    nrrd = path.suffix.lower() in _NRRD
    return _nrrd_notes(fields) if nrrd else _meta_notes(fields, direction)


def _nrrd_notes(fields: Mapping[str, str]) -> list[str]:
    space = fields.get("space", "").lower()
    placed = "space directions" in fields
    notes = []
    if not placed or not (space or "space dimension" in fields):
        notes.append(_NOWHERE)
    elif space not in _ANATOMICAL:
        notes.append(
            f"the header does not place the volume in the patient ({space or 'no space'} is "
            "named): left, posterior and superior are assumed"
        )
    elif "space origin" not in fields:
        notes.append("the header has no origin: the first voxel is assumed to lie at zero")
    if not placed and "spacings" not in fields:
        notes.append("the header has no size of the voxels: 1 mm is assumed")
    return notes


def _meta_notes(fields: Mapping[str, str], direction: npt.NDArray[np.float64]) -> list[str]:
    notes = []
    if not {"transformmatrix", "rotation", "orientation"} & fields.keys():
        notes.append(_NOWHERE)
    elif not {"offset", "origin", "position"} & fields.keys():
        notes.append("the header has no origin: the first voxel is assumed to lie at zero")
    named = fields.get("anatomicalorientation", "").upper()
    told = _orientation_code(direction)
    if not notes and len(named) == 3 and named.isalpha() and named != told:
        notes.append(
            f"AnatomicalOrientation is {named}, but TransformMatrix says {told} and counts"
        )
    if not {"elementspacing", "elementsize"} & fields.keys():
        notes.append("the header has no size of the voxels: 1 mm is assumed")
    return notes


def _orientation_code(direction: npt.NDArray[np.float64]) -> str:
    """Return where the axes come from, as MetaIO writes it: RAI for the axes of LPS."""
    main = np.abs(direction).argmax(axis=0)
    forward = direction[main, np.arange(3)] > 0
    letters = ("RL", "AP", "IS")
    return "".join(letters[m][0 if f else 1] for m, f in zip(main, forward, strict=True))
