"""The folders of a cohort: input, output and work, kept apart from each other.

The work folder has a mark of its own. What lies there under the name of the folder that a run
clears, and was there before the mark, is somebody else's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from monai_ddfm.apps.cohort.cases import Case
from monai_ddfm.apps.cohort.records import STATE_FOLDER
from monai_ddfm.errors import InputError
from monai_ddfm.utils.places import check_apart, is_inside, real

__all__ = ["check_inputs", "check_places", "cleared_cases"]

_CASES = "cases"
_MARK = "work"
_DERIVATIVES = "derivatives"


def check_places(source: Path, out: Path, work: Path) -> None:
    """Refuse an input, an output and a work folder that lie in each other.

    A BIDS data set may hold the output below its folder ``derivatives``, where BIDS wants it.

    Args:
        source: the input, a folder or a table.
        out: the output folder.
        work: the work folder.

    Raises:
        InputError: naming the two.
    """
    for folder, option in ((out, "choose another output folder"), (work, "choose another with -w")):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; give a folder for the results.")
        if is_inside(source, folder):
            raise InputError(f"{folder} holds the input; {option}.")
        if is_inside(folder, source) and not is_inside(folder, source / _DERIVATIVES):
            raise InputError(f"{folder} lies in the input {source}; {option}.")
    if real(work) == real(out):
        raise InputError(f"{out} cannot be the work folder, too; choose another with -w.")
    if is_inside(work, out) or is_inside(out, work):
        raise InputError(
            f"the work folder {work} and the output folder {out} lie in each other; choose another "
            "with -w."
        )
    check_cases(work)


def check_cases(work: Path) -> None:
    """Refuse a work folder in which a run would clear what no run has made.

    Args:
        work: the work folder; it need not exist.

    Raises:
        InputError: there is such a folder.
    """
    cases, marked = work / _CASES, (work / STATE_FOLDER / _MARK).is_file()
    try:
        foreign = cases.is_symlink() or (cases.exists() and not cases.is_dir())
        foreign = foreign or (not marked and cases.is_dir() and any(cases.iterdir()))
    except OSError as error:
        raise InputError(
            f"{cases} cannot be read ({error.strerror}); choose another work folder with -w."
        ) from error
    if foreign:
        raise InputError(
            f"{cases} was not made by a run and would be cleared; choose another work folder "
            "with -w."
        )


def check_inputs(
    cases: Sequence[Case], named: Mapping[str, Path | None], out: Path, work: Path
) -> None:
    """Refuse input files that lie where results or work in progress go.

    Args:
        cases: what was found; the files of a tree of DICOM studies lie in the tree.
        named: other files that are read, by a word for each.
        out: the output folder.
        work: the work folder.

    Raises:
        InputError: naming the file.
    """
    check_apart(named, written=[], cleared=[work / _CASES])
    places = [(folder, real(folder)) for folder in (out, work)]
    for case in cases:
        for name in () if case.is_dicom else chain.from_iterable(case.files.values()):
            at = real(name)
            for folder, place in places:
                if at.is_relative_to(place):
                    raise InputError(
                        f"{name} ({case.key}) lies in {folder}; choose another folder for the "
                        "results, and for the work with -w."
                    )


def cleared_cases(work: Path) -> Path:
    """Return the empty folder for work in progress, cleared of what killed workers have left.

    Args:
        work: the work folder, which exists, and which no other run is using.

    Raises:
        InputError: there is a folder of that name that no run has made, or it cannot be made.
    """
    cases, mark = work / _CASES, work / STATE_FOLDER / _MARK
    check_cases(work)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        if cases.exists():
            shutil.rmtree(cases, ignore_errors=True)
        cases.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{cases} cannot be made ({error.strerror}); choose another work folder with -w."
        ) from error
    return cases
