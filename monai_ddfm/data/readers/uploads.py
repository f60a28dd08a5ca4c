"""Volumes from strangers: what they may be, told by their headers alone."""

from __future__ import annotations

from pathlib import Path

from monai_ddfm.data.readers.dicom_files import looks_like_dicom
from monai_ddfm.data.readers.itk_headers import read_itk_header
from monai_ddfm.data.readers.nifti_claims import check_nifti_start
from monai_ddfm.data.readers.reading import ITK_SUFFIXES
from monai_ddfm.errors import InputError

__all__ = ["check_alone", "check_upload"]

_WHOLE = (".nii", ".nii.gz", ".mgh", ".mgz")
_PARTS = (".hdr", ".img", ".hdr.gz", ".img.gz")


def check_upload(path: Path) -> None:
    """Refuse what is no volume, or has its voxels in another file.

    Args:
        path: a file, or a folder of DICOM files.

    Raises:
        InputError: it is refused; the message names no folder.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    try:
        for file in files:
            if not file.is_dir():
                _check(file, among_others=path.is_dir())
    except InputError as error:
        told = str(error).replace(f"{path.parent}/", "").replace(f"{path}/", "")
        raise InputError(told) from error


def check_alone(path: Path) -> None:
    """Refuse a volume whose header names another file for its voxels.

    Args:
        path: a file or folder; formats that cannot name one are not looked at.

    Raises:
        InputError: it does.
    """
    if path.name.lower().endswith(ITK_SUFFIXES) and path.is_file():
        read_itk_header(path, alone=True)


def _check(file: Path, *, among_others: bool) -> None:
    name = file.name.lower()
    if file.is_symlink() or not file.is_file():
        raise InputError(f"{file.name} is no ordinary file; upload a volume.")
    if name.endswith(_PARTS):
        raise InputError(f"{file.name} is a part of a volume; upload a volume in one file.")
    if name.endswith(ITK_SUFFIXES) and not among_others:
        read_itk_header(file, alone=True).check()
    elif name.endswith(_WHOLE) and not among_others:
        check_nifti_start(file)
    elif not looks_like_dicom(file):
        what = "DICOM" if among_others else "NIfTI, MGH, NRRD, MHA or DICOM"
        raise InputError(f"{file.name} is no volume that can be uploaded; give {what}.")
