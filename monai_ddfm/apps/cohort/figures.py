"""The figures of a run, out of its provenance, under names that can head a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["MAIN_FIGURES", "figures_of"]

MAIN_FIGURES = {
    "registration_status": "registration",
    "registration_dependence": "dependence",
    "registration_agreement": "agreement",
    "registration_head_covered": "head covered",
    "registration_head_overlap": "head overlap",
    "registration_rotation_deg": "rotation (deg)",
    "registration_displacement_mm": "displacement (mm)",
    "bound_largest": "excess",
    "intensity_moving_clipped_above": "clipped above",
}
"""Those that the page shows, with the heading of each; the tables have all."""


_VERDICTS = ("ok", "warn", "refuse")


def figures_of(provenance: Mapping[str, Any]) -> dict[str, float | str | None]:
    """Return every number and verdict about the quality of a run.

    Args:
        provenance: the record of the run.

    Returns:
        Value by name: registration, gray scales, noise, bound and range of the fusion. Lists of
        numbers have no place in a table.
    """
    reports = provenance.get("reports", {})
    found: dict[str, float | str | None] = {}
    found |= _registration(reports.get("registration", {}))
    for key, report in reports.get("intensity", {}).items():
        found |= _plain(report, f"intensity_{str(key).removesuffix('_scaled')}")
    for report in reports.get("noise", {}).values():
        found |= _plain(report, "noise")
    found |= _plain(provenance.get("bound") or {}, "bound")
    return found | _plain(provenance.get("fused") or {}, "fused")


def _registration(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, float | str | None]:
    """Return the figures of the only registration; of several the worst, and then each."""
    if not reports:
        return {}
    order = sorted(reports, key=lambda key: _VERDICTS.index(reports[key].get("status", "ok")))
    found = _plain(reports[order[-1]], "registration")
    if len(reports) > 1:
        for key, report in reports.items():
            found |= _plain(report, f"registration_{key}")
    return found


def _plain(report: Mapping[str, Any], name: str) -> dict[str, float | str | None]:
    """Return the entries that are a number, a truth value or a verdict."""
    found: dict[str, float | str | None] = {}
    for key, value in report.items():
        if isinstance(value, bool | int | float):
            found[f"{name}_{key}"] = float(value)
        elif key in ("status", "method", "window") and isinstance(value, str):
            found[f"{name}_{key}"] = value
    return found
