"""What kind of input is given, and what is in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from monai_ddfm.apps.cohort.bids_input import find_in_bids
from monai_ddfm.apps.cohort.cases import Case, Finding, Problem, Selection, label_of
from monai_ddfm.apps.cohort.dicom_input import find_in_dicom
from monai_ddfm.apps.cohort.joining import joined
from monai_ddfm.apps.cohort.table_input import find_in_table
from monai_ddfm.data.readers.dicom_files import looks_like_dicom
from monai_ddfm.data.readers.itk_headers import read_itk_header
from monai_ddfm.data.readers.nifti import open_nifti
from monai_ddfm.data.readers.nifti_claims import check_nifti_claim, check_nifti_start
from monai_ddfm.data.readers.reading import ITK_SUFFIXES, NIFTI_SUFFIXES
from monai_ddfm.errors import InputError

__all__ = ["find_cases"]

_TABLES = (".csv", ".tsv")


def find_cases(
    source: Path,
    selection: Selection,
    *,
    labels: Mapping[str, str],
    outside: Sequence[Path] = (),
) -> Finding:
    """Find what of an input can be fused; headers are read, but no voxels.

    Args:
        source: a BIDS data set, a tree of DICOM studies, or a CSV file of pairs.
        selection: what is wanted.
        labels: label by patient of earlier runs, for DICOM.
        outside: folders that hold no sources, such as the one for the results.

    Returns:
        The cases, sorted by key, and what is wrong with others.

    Raises:
        InputError: the input as a whole cannot be used.
    """
    source = source.expanduser().absolute()
    outside = [folder.expanduser().absolute() for folder in outside]
    found = _find(source, selection, labels, outside)
    together, unclear = joined(found.cases, selection)
    cases, problems = [], [*found.problems, *unclear]
    for case in together:
        try:
            cases.append(_measured(case))
        except InputError as error:
            problems.append(Problem(label_of(case.subject, case.session), str(error).rstrip(".")))
    if not cases and not problems:
        why = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise InputError(
            f"{source} holds no pair of an MRI with a CT, PET or SPECT{why}; check it."
        )
    kinds = Counter(case.title for case in cases)
    notes = list(found.notes)
    if len(kinds) > 1:
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        how = "" if len(selection.modalities) > 1 else "; --modality chooses one"
        notes.insert(0, f"modalities are mixed ({shown}){how}")
    return replace(
        found,
        cases=sorted(cases, key=lambda case: case.key),
        problems=sorted(problems, key=lambda problem: problem.who),
        notes=notes,
    )


def _find(
    source: Path, selection: Selection, labels: Mapping[str, str], outside: Sequence[Path]
) -> Finding:
    if source.is_file():
        if source.suffix.lower() not in _TABLES:
            raise InputError(f"{source} is a file but no CSV table; give a folder or a .csv file.")
        return find_in_table(source, selection)
    entries = _entries(source)
    if not entries:
        raise InputError(f"{source} is empty; give a BIDS data set or a tree of DICOM studies.")
    subjects = [entry for entry in entries if entry.name.startswith("sub-") and entry.is_dir()]
    described = any(entry.name == "dataset_description.json" for entry in entries)
    if described and not (source / "dataset_description.json").is_file():
        raise InputError(  # a pipe would be waited for, for ever
            f"{source / 'dataset_description.json'} is no ordinary file; put the data set's there."
        )
    if described and not subjects:
        raise InputError(f"{source} is a BIDS data set without subjects; check it.")
    for entry in subjects:
        _entries(Path(entry.path))
    if subjects and (described or _looks_like_bids(Path(subjects[0].path))):
        return find_in_bids(source, selection, outside=outside)
    return find_in_dicom(source, selection, labels=labels, outside=outside)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError as error:
        raise InputError(f"{folder} does not exist; correct the path.") from error
    except NotADirectoryError as error:
        raise InputError(
            f"{folder} is no folder and no ordinary file; give a folder or a .csv file."
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); correct its permissions."
        ) from error


def _looks_like_bids(subject: Path) -> bool:
    return any(subject.rglob(f"{subject.name}_*.nii*"))


def _measured(case: Case) -> Case:
    """Return the case with the size of its MRI.

    Raises:
        InputError: a file is missing or its header cannot be read.
    """
    if case.is_dicom:
        return case
    sizes = {role: _voxels(Path(files[0])) for role, files in case.files.items()}
    return replace(case, voxels=sizes["fixed"])


def _voxels(path: Path) -> int:
    """Return how many voxels the header of a file tells; 0 for a folder or DICOM.

    No library that may crash sees the file: planning is done by the process of the command.
    """
    if path.is_dir():
        return 0
    if not path.exists():
        raise InputError(f"{path} does not exist; correct the path")
    if not path.is_file():
        raise InputError(f"{path} is no ordinary file; give a volume")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; fetch it again")
    name = path.name.lower()
    try:
        if name.endswith(NIFTI_SUFFIXES):
            check_nifti_start(path)
            image, _ = open_nifti(path)
            check_nifti_claim(image, image.shape, path)
            return prod(image.shape[:3])
        if name.endswith(ITK_SUFFIXES):
            header = read_itk_header(path)
            header.check()
            return prod(header.sizes)
        if looks_like_dicom(path):
            return 0
    except InputError as error:
        raise InputError(str(error).rstrip(".")) from error
    except Exception as error:  # readers raise of many kinds for damaged files
        raise InputError(f"{path} has no readable header; fetch it again") from error
    raise InputError(f"{path} is no volume known here; give NIfTI, MGH, NRRD, MHA or DICOM")
