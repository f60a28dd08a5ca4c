"""The record of a run without what identifies the patient.

What stays is listed, so that a field added later is left out until somebody has thought about it:
numbers, settings, software, and the figures of the registration, the gray scales and the bound.
What goes: paths and names of files (people put names there), times, series and their UIDs, hashes
of the inputs (whoever has the original could recognize it), body weight, dose, and every text that
a header or the user has supplied. The report "dicom" has replaced UIDs already. Notes of the
reading stay, because whoever looks at the result has to know of them, but without numbers and
quoted text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["without_identity"]

_REMOVED = "removed"
_TOP = ("notice", "schema", "bound", "fused", "outputs", "seconds", "memory", "software")
_INPUT = ("kind", "files", "bytes")
_PRIOR = (*_INPUT, "sha256")
_HARDWARE = ("device", "device_name", "cpu_count", "torch_threads")
# Options whose text is a path, an address, or words about the patient.
_SUPPLIED = (
    "reference_mask",
    "landmarks",
    "fixed_series",
    "moving_series",
    "patient",
    "push",
    "bids",
)
_METHODS = ("rigid", "affine", "deformable", "none")
_READING = ("format", "modality", "units", "relative", "frames", "shape", "spacing_mm")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"\d[\d.,:]*")
_LEFT_OUT: dict[str, tuple[str, ...]] = {
    "patient": (),
    "registration": ("file",),
    "intensity": (),
    "noise": (),
    "color": (),
    "reference_mask": ("path",),
    "dicom": (),
}


def without_identity(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `collect_provenance` has put together, without what identifies the patient.

    Args:
        provenance: the record of a run.

    Returns:
        A record of the same fields; what has been taken out is absent, null or "removed".
    """
    options = dict(provenance["options"])
    options |= {name: _REMOVED for name in _SUPPLIED if options.get(name) is not None}
    if options.get("registration") not in (None, *_METHODS):
        options["registration"] = "transform file"
    kept = {name: provenance[name] for name in _TOP if name in provenance}
    prior = provenance.get("prior")
    return {
        **kept,
        "started_utc": None,
        "finished_utc": None,
        "command": _REMOVED,
        "options": options,
        "inputs": {role: _only(about, _INPUT) for role, about in provenance["inputs"].items()},
        "prior": prior and _only(prior, _PRIOR),
        "reports": _reports(provenance["reports"]),
        "hardware": _only(provenance["hardware"], _HARDWARE),
    }


def _reports(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, by_key in reports.items():
        if name == "reading":
            kept[name] = {
                key: {
                    **_only(report, _READING),
                    "notes": [_without_values(note) for note in report.get("notes", ())],
                }
                for key, report in by_key.items()
            }
        elif name in _LEFT_OUT:
            kept[name] = {
                key: {k: v for k, v in report.items() if k not in _LEFT_OUT[name]}
                for key, report in by_key.items()
            }
    return kept


def _without_values(note: str) -> str:
    return _NUMBER.sub("#", _QUOTED.sub("'...'", note))


def _only(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content}
