"""NRRD and MetaImage (MHA, MHD) files through SimpleITK.

ITK keeps positions in LPS, whatever NRRD's ``space`` field says; they are turned into RAS here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from monai_ddfm.errors import InputError
from monai_ddfm.modality import Modality
from monai_ddfm.readers.checks import check_affine, check_shape
from monai_ddfm.readers.itk_headers import read_itk_header
from monai_ddfm.readers.volume import FrameStack, Volume, channels_first, combine_frames, reason

__all__ = ["ITK_SUFFIXES", "lps_to_ras", "read_itk"]

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


def read_itk(
    path: Path, *, modality: Modality | None = None, frames: Sequence[int] | None = None
) -> Volume:
    """Read an NRRD or MetaImage file.

    Args:
        path: the file.
        modality: what was measured, decides what happens to a fourth axis.
        frames: 0-based time frames of a 4-D file to average.

    Returns:
        The volume; three or four components per voxel give [3, H, W, D].

    Raises:
        InputError: the file cannot be read or is not a usable volume.
    """
    header = read_itk_header(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(header.library)  # any other might follow what its own headers name
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(path, error) from error
    shape = list(reader.GetSize())
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    check_shape(shape[:3], path)
    components = reader.GetNumberOfComponents()
    if components not in (1, 3, 4):
        raise InputError(
            f"{path} has {components} values per voxel; give a volume with one value or with RGB."
        )
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{path} holds complex numbers; give their magnitude as a real volume.")
    affine = _affine(reader)
    check_affine(affine, path)
    header.check()
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(path, error) from error
    array, note = _voxels(voxels, shape, components, path, modality=modality, frames=frames)
    meta = {"spacing": np.array(reader.GetSpacing()[:3])}
    report = {"format": path.suffix.lstrip(".").upper(), "frames": note, "notes": []}
    return Volume(array, affine, meta, report)


def lps_to_ras(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn an affine whose world axes point left, posterior, superior into RAS.

    Args:
        affine: [4, 4].

    Returns:
        [4, 4], the same placement in RAS.
    """
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _unreadable(path: Path, error: BaseException) -> InputError:
    said = reason(error).rsplit("ITK ERROR:", 1)[-1].strip()
    return InputError(f"{path} is not a readable image ({said}); export or fetch the file again.")


def _affine(reader: Any) -> npt.NDArray[np.float64]:
    rank = reader.GetDimension()
    affine = np.eye(4)
    direction = np.array(reader.GetDirection()).reshape(rank, rank)
    affine[:3, :3] = direction[:3, :3] * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    return lps_to_ras(affine)


def _voxels(
    voxels: npt.NDArray[Any],
    shape: list[int],
    components: int,
    path: Path,
    *,
    modality: Modality | None,
    frames: Sequence[int] | None,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return [C, H, W, D] and a note on time frames."""
    tail = (components,) if components > 1 else ()
    voxels = voxels.reshape((*shape[::-1], *tail))
    if components > 1:
        if len(shape) > 3:
            raise InputError(f"{path} is RGB in several time frames; give a single RGB volume.")
        return channels_first(voxels.transpose(2, 1, 0, 3)), {}
    if len(shape) == 3:
        if frames is not None and list(frames) != [0]:
            raise InputError(f"{path} has a single time frame; leave frames={list(frames)} out.")
        return np.ascontiguousarray(voxels.T, dtype=np.float32)[None], {}
    if len(shape) > 4:
        raise InputError(f"{path} has {len(shape)} axes; give a 3-D volume.")
    stack = FrameStack(shape[3], lambda t: voxels[t].T)
    array, note = combine_frames(stack, path, modality=modality, frames=frames)
    return np.ascontiguousarray(array)[None], note
