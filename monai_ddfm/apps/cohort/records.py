"""What is known of the cases of an output folder: one small JSON file for each.

A record is written when everything else of its case is in place, so a case that was killed has
none. The records of finished cases hold what decides whether they are still valid
(`monai_ddfm.apps.cohort.fingerprints`), the sizes of their files, and the figures for the group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monai_ddfm.apps.cohort.cases import Case
from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import sync
from monai_ddfm.utils.json_files import write_json

__all__ = [
    "STATE_FOLDER",
    "Record",
    "case_state",
    "read_records",
    "record_path",
    "remove_record",
    "write_record",
]

STATE_FOLDER = ".monai-ddfm"
_SCHEMA = "monai_ddfm.cohort.record/1"


@dataclass(frozen=True)
class Record:
    """What is known of a case.

    Attributes:
        key: name of the case.
        subject: label.
        session: label or empty.
        tracer: label or empty.
        modality: of the moving volume; of several ``PET + CT``.
        status: "done" or "failed".
        reason: why it failed.
        content: fingerprint of what the result depends on.
        program: the part of it that the inputs have no share in.
        stamps: digest of the stamps of the inputs.
        outputs: size by path below the output folder.
        report: path of the page, below the output folder.
        thumbnail: path of the small picture, below the output folder.
        figures: numbers and verdicts by name.
        warnings: what needs looking at.
        notes: remarks of the plan.
        seconds: the fusion took.
    """

    key: str
    subject: str
    session: str
    tracer: str
    modality: str
    status: str
    reason: str = ""
    content: str = ""
    program: str = ""
    stamps: str = ""
    outputs: Mapping[str, int] = field(default_factory=dict)
    report: str = ""
    thumbnail: str = ""
    figures: Mapping[str, float | str | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @classmethod
    def of(cls, case: Case, status: str, **about: Any) -> Record:
        """Return a record of a case."""
        return cls(
            key=case.key,
            subject=case.subject,
            session=case.session,
            tracer=case.tracer,
            modality=case.title,
            status=status,
            notes=case.notes,
            **about,
        )


def record_path(out: Path, key: str) -> Path:
    """Return where the record of a case is."""
    return out / STATE_FOLDER / f"{key}.json"


def write_record(out: Path, record: Record) -> None:
    """Write a record, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    path = record_path(out, record.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": _SCHEMA, **asdict(record)})


def remove_record(out: Path, key: str) -> None:
    """Remove the record of a case, so that its files do not count as a result.

    Raises:
        InputError: it cannot be removed.
    """
    path = record_path(out, key)
    try:
        if path.exists():
            path.unlink()
            sync(path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be replaced ({error.strerror}); check it.") from error


def read_records(out: Path) -> dict[str, Record]:
    """Return the records of an output folder by key; damaged ones are as good as none."""
    found: dict[str, Record] = {}
    for path in sorted((out / STATE_FOLDER).glob("sub-*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("schema") != _SCHEMA:
                continue
            content |= {name: tuple(content[name]) for name in ("warnings", "notes")}
            record = Record(**content)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        found[record.key] = record
    return found


def case_state(out: Path, record: Record | None, *, stamps: str, program: str) -> str:
    """Say what is to be done with a case, without reading its inputs.

    Args:
        out: the output folder.
        record: of the case; None if there is none.
        stamps: of its inputs now.
        program: digest of options, prior, pipeline and version now.

    Returns:
        "done", "new", "failed before", "options or version changed", "results missing", or
        "inputs touched", where the content decides.
    """
    if record is None:
        return "new"
    if record.status != "done":
        return "failed before"
    if record.program != program:
        return "options or version changed"
    if not is_complete(out, record):
        return "results missing"
    return "done" if record.stamps == stamps else "inputs touched"


def is_complete(out: Path, record: Record) -> bool:
    """Whether every file of a finished case is there with its size."""
    for name, size in record.outputs.items():
        try:
            if (out / name).stat().st_size != size:
                return False
        except OSError:
            return False
    return bool(record.outputs)
