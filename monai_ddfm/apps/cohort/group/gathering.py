"""``cohort.csv``, ``cohort.json`` and ``group.html`` out of the records of an output folder.

None of them holds a time, so the same results give the same bytes.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai_ddfm.apps.cohort.cases import Problem
from monai_ddfm.apps.cohort.figures import MAIN_FIGURES
from monai_ddfm.apps.cohort.group.outliers import outlying
from monai_ddfm.apps.cohort.group.page import group_page
from monai_ddfm.apps.cohort.records import STATE_FOLDER, Record, read_records
from monai_ddfm.utils.files import NOTICE, write_text
from monai_ddfm.utils.json_files import write_json
from monai_ddfm.version import __version__

__all__ = ["read_problems", "write_group", "write_problems"]

SCHEMA = "monai_ddfm.cohort/1"
_ABOUT = ("case", "subject", "session", "tracer", "modality", "status", "reason")
_LISTS = ("warnings", "notes", "outliers")


def write_problems(out: Path, problems: Sequence[Problem], *, only: Sequence[str] = ()) -> None:
    """Note what the plan has found wrong, for the group.

    Args:
        out: the output folder.
        problems: of the plan.
        only: the labels the plan was about; problems of others stay. Empty for all.

    Raises:
        InputError: the file cannot be written.
    """
    others = [p for p in read_problems(out) if only and _subject(p.who) not in only]
    entries = [asdict(problem) for problem in sorted({*others, *problems}, key=lambda p: p.who)]
    write_json(_problems_file(out), {"problems": entries})


def read_problems(out: Path) -> list[Problem]:
    """Return what was noted by `write_problems`."""
    try:
        entries = json.loads(_problems_file(out).read_text(encoding="utf-8"))["problems"]
        return [Problem(str(one["who"]), str(one["sentence"])) for one in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def write_group(out: Path) -> int:
    """Write the tables and the page.

    Returns:
        How many cases and subjects have failed.

    Raises:
        InputError: a file cannot be written.
    """
    records = list(read_records(out).values())
    problems = read_problems(out)
    rows = [_row(record) for record in records]
    figures = sorted({name for row in rows for name in row["figures"]})
    for row, names in zip(rows, outlying(rows, figures), strict=True):
        row["outliers"] = names
    problem_rows = [asdict(problem) for problem in problems]
    content = {
        "notice": NOTICE,
        "schema": SCHEMA,
        "version": __version__,
        "cases": rows,
        "problems": problem_rows,
    }
    write_json(out / "cohort.json", content)
    write_text(out / "cohort.csv", _table(rows, problems, figures))
    pictures = [_picture(out / record.thumbnail) if record.thumbnail else "" for record in records]
    page = group_page(rows, problem_rows, pictures, figures=MAIN_FIGURES)
    write_text(out / "group.html", page)
    return sum(record.status != "done" for record in records) + len(problems)


def _row(record: Record) -> dict[str, Any]:
    content = asdict(record)
    return {
        "case": record.key,
        **{name: content[name] for name in (*_ABOUT[1:], "warnings", "notes", "report")},
        "figures": dict(sorted(record.figures.items())),
    }


def _table(
    rows: Sequence[dict[str, Any]], problems: Iterable[Problem], figures: Sequence[str]
) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(
        file, [*_ABOUT, *_LISTS, "report", *figures], restval="", lineterminator="\n"
    )
    writer.writeheader()
    for row in rows:
        plain = {name: row[name] for name in (*_ABOUT, "report")}
        lists = {name: "; ".join(row[name]) for name in _LISTS}
        writer.writerow(plain | lists | row["figures"])
    for problem in problems:
        about = {"case": problem.who, "subject": _subject(problem.who)}
        writer.writerow(about | {"status": "not fused", "reason": problem.sentence})
    return file.getvalue()


def _subject(who: str) -> str:
    return who.partition("_")[0].removeprefix("sub-") if who.startswith("sub-") else ""


def _picture(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return ""


def _problems_file(out: Path) -> Path:
    return out / STATE_FOLDER / "problems.json"
