"""One entry for every format: look at what is there, read it, check it.

The library of a format is loaded when a file of it is met: loading takes longer than a header.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_ddfm.data.readers.checks import (
    check_affine,
    check_hounsfield,
    check_shape,
    check_values,
    remark_on_extent,
)
from monai_ddfm.data.readers.volume import OpenedVolume, Volume
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["ITK_SUFFIXES", "NIFTI_SUFFIXES", "open_volume", "read_volume"]

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".mgz", ".mgh")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_FEWEST_ACROSS = 32
_NO_ANATOMY = re.compile(r"_part-(phase|imag)_")  # names of BIDS


def read_volume(
    path: str | os.PathLike[str],
    *,
    modality: str | None = None,
    series: str | None = None,
    frames: Sequence[int] | None = None,
    allow_unknown_geometry: bool = False,
) -> Volume:
    """Read and check one volume: NIfTI, MGH, NRRD, MetaImage, a DICOM file or a DICOM folder.

    Args:
        path: file or folder; ``~`` is understood.
        modality: what the volume is expected to be (MRI, CT, PET, SPECT or DICOM's code). Chooses
            among the series of a DICOM folder; where a DICOM header says otherwise, it is refused.
        series: for a DICOM folder with several series: description, number or SeriesInstanceUID.
        frames: 0-based time frames of a 4-D volume to average; all of them by default for PET and
            SPECT, whereas other modalities have to choose.
        allow_unknown_geometry: read DICOM frames without any position in space as voxels of 1 mm
            instead of refusing them.

    Returns:
        The checked volume. `Volume.meta` has MONAI's fields (``filename_or_obj``, ``affine``,
        ``original_affine``, ``spatial_shape``, ``space``, ``original_channel_dim``,
        ``qform_code``, ``sform_code``) and the strings ``modality``, ``units``, ``patient_id``,
        ``frame_of_reference_uid``, ``series_instance_uid``, ``patient_position``,
        ``body_part`` (``""`` where unknown) and ``source_files`` (a JSON list of paths).

    Raises:
        InputError: what is there cannot be used.
    """
    return open_volume(
        path,
        modality=modality,
        series=series,
        frames=frames,
        allow_unknown_geometry=allow_unknown_geometry,
    ).load()


def open_volume(
    path: str | os.PathLike[str],
    *,
    modality: str | None = None,
    series: str | None = None,
    frames: Sequence[int] | None = None,
    allow_unknown_geometry: bool = False,
) -> OpenedVolume:
    """Find a volume and judge its header; nothing heavy is loaded, and no voxel read.

    Args:
        path: as for `read_volume`.
        modality: likewise.
        series: likewise.
        frames: likewise.
        allow_unknown_geometry: likewise.

    Returns:
        What `read_volume` loads.

    Raises:
        InputError: what is there cannot be used.
    """
    place = _existing(path)
    word = Modality.parse(modality) if modality else None
    name = place.name.lower()
    if word is Modality.MR and (part := _NO_ANATOMY.search(name)):
        raise InputError(
            f"{place} is named as the {part[1]} part of an MRI, which shows no anatomy by itself; "
            "give the magnitude."
        )
    if name.endswith(NIFTI_SUFFIXES) and place.is_file():
        from monai_ddfm.data.readers.nifti import opened_nifti  # noqa: PLC0415

        opened = opened_nifti(place, modality=word, frames=frames)
    elif name.endswith(ITK_SUFFIXES) and place.is_file():
        from monai_ddfm.data.readers.itk_formats import opened_itk  # noqa: PLC0415

        opened = opened_itk(place, modality=word, frames=frames)
    elif place.is_dir() or _looks_like_dicom(place):
        from monai_ddfm.data.readers.dicom import opened_dicom  # noqa: PLC0415

        with _pydicom_quiet():
            opened = opened_dicom(
                place,
                modality=word,
                series=series,
                frames=frames,
                allow_unknown_geometry=allow_unknown_geometry,
            )
    else:
        raise InputError(
            f"{place} is not an image known here; give NIfTI (.nii, .nii.gz), MGH, NRRD, MHA or "
            "DICOM."
        )

    def load() -> Volume:
        with _pydicom_quiet():
            return _finished(opened.load(), place, word)

    return replace(opened, load=load)


@contextmanager
def _pydicom_quiet() -> Iterator[None]:
    """What pydicom finds odd in a header is judged here where it matters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield


def _looks_like_dicom(path: Path) -> bool:
    from monai_ddfm.data.readers.dicom_files import looks_like_dicom  # noqa: PLC0415

    return looks_like_dicom(path)


def _existing(path: str | os.PathLike[str]) -> Path:
    try:
        place = Path(path).expanduser()
        exists = place.exists()
        usable = exists and (place.is_dir() or (place.is_file() and os.access(place, os.R_OK)))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path!r} is not a usable path ({error}); check its spelling.") from error
    if not exists:
        raise InputError(f"{place} does not exist; check the path.")
    if not usable:
        raise InputError(f"{place} cannot be opened; give a file that you may read.")
    if place.is_file() and place.stat().st_size == 0:
        raise InputError(f"{place} is an empty file; export or fetch it again.")
    return place


def _finished(volume: Volume, path: Path, modality: Modality | None) -> Volume:
    """Check the volume and fill in what all formats share."""
    shape = volume.array.shape[1:]
    check_shape(shape, path)
    check_affine(volume.affine, path)
    check_values(volume.array, path)
    color = volume.array.shape[0] == 3
    shared: dict[str, Any] = {
        "modality": str(modality or ""),
        "units": "RGB" if color else modality.row.units if modality else "",
        "patient_id": "",
        "frame_of_reference_uid": "",
        "patient_position": "",
        "body_part": "",
        "series_instance_uid": "",
        "source_files": json.dumps([str(path)]),
        "qform_code": 1,
        "sform_code": 1,
    }
    meta = {**shared, **volume.meta}
    meta |= {
        "filename_or_obj": str(path),
        "affine": volume.affine,
        "original_affine": volume.affine.copy(),
        "spatial_shape": np.array(shape),
        "space": "RAS",
        "original_channel_dim": -1 if color else float("nan"),
    }
    notes = list(volume.report.get("notes", []))
    if meta["units"] == "HU":
        notes += [note for note in [check_hounsfield(volume.array, path)] if note]
    # DICOM knows only millimeters, so a few voxels are a small thing there, not lost units.
    if volume.report.get("format") != "DICOM" or max(shape) >= _FEWEST_ACROSS:
        notes += [note for note in [remark_on_extent(volume.affine, shape)] if note]
    report = {
        "path": str(path),
        "modality": meta["modality"],
        "units": meta["units"],
        "shape": [int(n) for n in volume.array.shape],
        "spacing_mm": [round(float(s), 6) for s in np.linalg.norm(volume.affine[:3, :3], axis=0)],
        **volume.report,
        "notes": notes,
    }
    return Volume(volume.array, volume.affine, meta, report)
