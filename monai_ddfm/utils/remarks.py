"""What of the reports of a run needs looking at, as clauses: the warnings of its record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["name_of_source", "warnings"]

Record = Mapping[str, Any]

_SOURCE = re.compile(r"moving_(?!scaled$|source$|recovered$)([a-z0-9]+)(?:_scaled)?")
_ROUNDING = 1e-5
_TOLD = {"registration", "patient", "intensity", "reading"}


def warnings(provenance: Record) -> list[str]:
    """Return what needs looking at, as clauses, the most serious first.

    Args:
        provenance: the record of a run.
    """
    found = []
    for key, report in provenance.get("reports", {}).get("registration", {}).items():
        reasons = report.get("reasons", []) if report.get("status", "ok") != "ok" else []
        said = f"registration{_of(key)}"
        found += [f"{said}: {reason}" for reason in (*reasons, *_remarks(report))]
    for report in _named(provenance, "patient"):
        if report.get("same") is False:
            found.append("the patient IDs of the two volumes differ, and that was allowed")
    excess = (provenance.get("bound") or {}).get("largest")
    if excess and excess > _widened(provenance):
        found.append(f"the fusion exceeds the sources by up to {excess:.2g} of the gray scale")
    for key, report in provenance.get("reports", {}).get("intensity", {}).items():
        name = name_of_source(key)
        found += [f"{name}: {text}" if name else text for text in _remarks(report)]
    for key, report in provenance.get("reports", {}).get("reading", {}).items():
        found += [f"{key}: {note}" for note in _remarks(report)]
    for name in sorted(set(provenance.get("reports", {})) - _TOLD):
        words = name.replace("_", " ")
        found += [f"{words}: {text}" for r in _named(provenance, name) for text in _remarks(r)]
    return list(dict.fromkeys(found))


def _widened(provenance: Record) -> float:
    """By how much the noise of the sources widens the range that their fusion keeps to."""
    margin = max((r.get("margin", 0.0) for r in _named(provenance, "noise")), default=0.0)
    return margin + _ROUNDING if margin else 0.0


def name_of_source(key: str) -> str:
    """Return the name of one of several moving volumes in the key of a report; "" if none is."""
    named = _SOURCE.fullmatch(key)
    return named[1] if named else ""


def _of(key: str) -> str:
    name = name_of_source(key)
    return f" of {name}" if name else ""


def _remarks(report: Record) -> list[str]:
    """Return what a step has remarked on, under either of the names that steps use."""
    return [str(text) for name in ("warnings", "notes") for text in report.get(name) or ()]


def _named(provenance: Record, name: str) -> list[Record]:
    return list(provenance.get("reports", {}).get(name, {}).values())
