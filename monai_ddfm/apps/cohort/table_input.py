"""Cases listed in a CSV file.

The columns ``subject``, ``fixed``, ``moving`` and ``modality`` are needed, ``session`` and
``tracer`` are optional. Paths count from the folder of the file.

Spreadsheets write such tables with commas, semicolons or tabs, depending on the language of the
computer, in UTF-8 or UTF-16, with or without a byte-order mark; all of them are read.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from monai_ddfm.apps.cohort.cases import MRI_SUFFIXES, Case, Finding, Problem, Selection, label_of
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["find_in_table"]

_NEEDED = ("subject", "fixed", "moving", "modality")
_KNOWN = (*_NEEDED, "session", "tracer")


def find_in_table(path: Path, selection: Selection) -> Finding:
    """Read the cases of a table.

    Args:
        path: the CSV file.
        selection: what is wanted.

    Returns:
        Cases, and the lines that cannot be used.

    Raises:
        InputError: it is no such table.
    """
    rows = _rows(path)
    by_key: dict[str, list[tuple[int, Case]]] = defaultdict(list)
    problems: list[Problem] = []
    for number, row in rows:
        try:
            case = _case(row, path.parent)
        except InputError as error:
            problems.append(Problem(f"line {number}", str(error).rstrip(".")))
            continue
        if _wanted(case, selection):
            by_key[case.key].append((number, case))
    cases = []
    for entries in by_key.values():
        if len(entries) > 1:
            lines = ", ".join(str(number) for number, _ in entries)
            who = label_of(entries[0][1].subject, entries[0][1].session)
            problems.append(
                Problem(
                    who,
                    f"is listed {len(entries)} times with a {entries[0][1].modality} "
                    f"(lines {lines}); keep one line or tell them apart by session or tracer",
                )
            )
        else:
            cases.append(entries[0][1])
    return Finding("CSV", path.parent, cases, problems)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = _decoded(path.read_bytes())
        first, _, rest = text.partition("\n")
        told = re.fullmatch(r"sep=(.)\r?", first)  # as some spreadsheets begin
        delimiter = told[1] if told else _delimiter(first)
        file = io.StringIO(rest if told else text, newline="")
        reader = csv.DictReader(file, delimiter=delimiter)
        names = [str(name).strip().lower() for name in reader.fieldnames or ()]
        if missing := [name for name in _NEEDED if name not in names]:
            raise InputError(f"{path} has no column {missing[0]!r}; it needs {', '.join(_NEEDED)}.")
        if unknown := [name for name in names if name and name not in _KNOWN]:
            raise InputError(
                f"{path} has an unknown column {unknown[0]!r}; use {', '.join(_KNOWN)}."
            )
        reader.fieldnames = names
        skipped = int(told is not None)
        return [
            (
                reader.line_num + skipped,
                {k: (v or "").strip() for k, v in row.items() if k in _KNOWN},
            )
            for row in reader
            if any((row.get(name) or "").strip() for name in names)
        ]
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table ({error}); check it.") from error


def _decoded(content: bytes) -> str:
    """Return the text, by its byte-order mark or by the zeros of UTF-16."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le")
    if content[:1] == b"\0":
        return content.decode("utf-16-be")
    return content.decode("utf-8-sig")


def _delimiter(heading: str) -> str:
    """Return what separates the names of the columns, which have no such signs themselves."""
    return max((",", ";", "\t"), key=heading.count)


def _case(row: Mapping[str, str], folder: Path) -> Case:
    for name in _NEEDED:
        if not row.get(name):
            raise InputError(f"has no {name}; fill it in.")
    subject = row["subject"].removeprefix("sub-")
    session = row.get("session", "").removeprefix("ses-")
    tracer = row.get("tracer", "").removeprefix("trc-")
    for name, label in (("subject", subject), ("session", session), ("tracer", tracer)):
        if label and not re.fullmatch(r"[0-9a-zA-Z]+", label):
            raise InputError(f"has the {name} label {label!r}; use letters and digits only.")
    fixed, moving = folder / row["fixed"], folder / row["moving"]
    ending = fixed.name.partition(".")[0].rpartition("_")[2]
    return Case(
        subject=subject,
        session=session,
        tracer=tracer,
        modality=Modality.parse(row["modality"]),
        fixed=(str(fixed),),
        moving=(str(moving),),
        space=ending if ending in MRI_SUFFIXES else "MRI",
    )


def _wanted(case: Case, selection: Selection) -> bool:
    return (
        (not selection.participants or case.subject in selection.participants)
        and (not selection.sessions or case.session in selection.sessions)
        and selection.takes(case.modality, case.tracer)
    )
