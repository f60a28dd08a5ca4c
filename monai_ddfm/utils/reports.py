"""Notes that a processing step leaves for the provenance, carried in a MetaTensor's metadata.

A note is a plain JSON object. It travels as a JSON string because MONAI's collate and decollate
functions keep strings as they are, but turn numbers and lists into tensors.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

from monai.data import MetaTensor
from torch import Tensor

from monai_ddfm.utils.json_files import jsonable

__all__ = ["add_report", "by_role", "collect_reports", "copy_report", "reports_of"]

_PREFIX = "ddfm_report_"


def add_report(tensor: MetaTensor, name: str, report: Mapping[str, Any]) -> None:
    """Attach `report` to `tensor` under `name`, replacing an earlier one of that name.

    Args:
        tensor: the volume that the step has worked on.
        name: the step, for example ``"registration"``.
        report: values that `json.dumps` can write.
    """
    tensor.meta[_PREFIX + name] = json.dumps(dict(report))


def copy_report(source: Tensor, target: Tensor, name: str) -> None:
    """Attach the report called `name` of one tensor to another; a batch may be given.

    Args:
        source: where it is; without metadata, or without that report, nothing is done.
        target: where it goes, if it has metadata.
        name: of the report.
    """
    key = _PREFIX + name
    if isinstance(source, MetaTensor) and isinstance(target, MetaTensor) and key in source.meta:
        target.meta[key] = source.meta[key]


def reports_of(tensor: MetaTensor) -> dict[str, Any]:
    """Return every report attached to `tensor`, by name.

    Args:
        tensor: a volume that has come through the preprocessing.

    Returns:
        Mapping from the step's name to its report.
    """
    return {
        key.removeprefix(_PREFIX): json.loads(value)
        for key, value in tensor.meta.items()
        if isinstance(key, str) and key.startswith(_PREFIX)
    }


def collect_reports(data: Mapping[Hashable, Any]) -> dict[str, dict[str, Any]]:
    """Gather the reports that travel with the volumes of a case.

    Args:
        data: the case; entries that are no MetaTensor are passed over.

    Returns:
        Report by its name and by the key it was first found at. A report that several volumes
        carry, because one was made from the other, is listed once.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in data.items():
        for name, report in reports_of(value).items() if isinstance(value, MetaTensor) else ():
            by_key = found.setdefault(name, {})
            if report not in by_key.values():
                by_key[str(key)] = jsonable(report)
    return found


def by_role(
    reports: Mapping[str, Mapping[str, Any]], modality: str
) -> dict[str, Mapping[str, Any]]:
    """Return the reports of fixed and moving among those of a name in `collect_reports`.

    Args:
        reports: of both volumes, fixed first, with their ``modality``; of one if they are equal.
        modality: of moving; that of fixed is MR.
    """
    roles: dict[str, Mapping[str, Any]] = {}
    for report in reports.values():
        kind = str(report.get("modality", "")).upper()
        if kind == "MR":
            roles.setdefault("fixed", report)
        if kind == modality:
            roles["moving"] = report
    return roles
