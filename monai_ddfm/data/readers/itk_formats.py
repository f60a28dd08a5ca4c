"""NRRD and MetaImage (MHA, MHD) files through SimpleITK.

ITK keeps positions in LPS, whatever NRRD's ``space`` field says; they are turned into RAS here.

Several values per voxel are frames unless the header calls them colors: by the ``kinds`` of NRRD,
or, where that says nothing (and in MetaImage always), by holding bytes. What ITK assumes without a
word, because the header does not place the volume, is noted (`itk_placement`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from monai_ddfm.data.readers.checks import check_affine, check_shape
from monai_ddfm.data.readers.itk_headers import read_itk_header
from monai_ddfm.data.readers.itk_placement import fields_of, millimeters, placement_notes
from monai_ddfm.data.readers.volume import (
    FrameStack,
    OpenedVolume,
    Volume,
    channels_first,
    combine_frames,
    reason,
)
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["lps_to_ras", "opened_itk"]

_DOMAINS = ("domain", "space", "time")
_COLORS = ("rgb-color", "rgba-color", "3-color", "4-color")
_NAMELESS = ("vector", "3-vector", "4-vector", "???", "none", "stub")
_NO_FRAMES = (
    "hsv-color",
    "xyz-color",
    "complex",
    "quaternion",
    "covariant-vector",
    "normal",
    "3-gradient",
    "3-normal",
    "2d-matrix",
    "2d-masked-matrix",
    "2d-symmetric-matrix",
    "2d-masked-symmetric-matrix",
    "3d-matrix",
    "3d-masked-matrix",
    "3d-symmetric-matrix",
    "3d-masked-symmetric-matrix",
)
"""Kinds of NRRD axes (Teem's format definition, section 5) that are no frames."""
_BYTES = (sitk.sitkUInt8, sitk.sitkVectorUInt8)


def opened_itk(
    path: Path, *, modality: Modality | None = None, frames: Sequence[int] | None = None
) -> OpenedVolume:
    """Read the header of an NRRD or MetaImage file.

    Args:
        path: the file.
        modality: what was measured, decides what happens to a fourth axis.
        frames: 0-based time frames of a 4-D file to average.

    Returns:
        What loads the volume; colors give [3, H, W, D].

    Raises:
        InputError: the file cannot be read or is not a usable volume.
    """
    header = read_itk_header(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(header.library)  # any other might follow what its own headers name
    reader.SetFileName(str(path))
    fields = fields_of(path)
    kind = _kind_of_values(fields, path)
    try:
        reader.ReadImageInformation()
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(path, error) from error
    shape = list(reader.GetSize())
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    check_shape(shape[:3], path)
    components = reader.GetNumberOfComponents()
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{path} holds complex numbers; give their magnitude as a real volume.")
    affine = _affine(reader)
    affine[:3] *= millimeters(fields, path)
    check_affine(affine, path)
    color = components > 1 and _is_color(reader, components, kind)
    header.check()

    def load() -> Volume:
        header.check_whole()
        try:
            voxels = sitk.GetArrayFromImage(reader.Execute())
        except (RuntimeError, MemoryError) as error:
            raise _unreadable(path, error) from error
        if color:
            array, note = _colors(voxels, shape, components, path), dict[str, Any]()
        else:
            array, note = _values(voxels, shape, components, path, modality=modality, frames=frames)
        notes = _notes(reader, fields, path)
        if components > 1 and not color:
            notes.append(f"{components} values per voxel were taken as frames, not as colors")
        report = {"format": path.suffix.lstrip(".").upper(), "frames": note, "notes": notes}
        return Volume(array, affine, {"spacing": np.array(reader.GetSpacing()[:3])}, report)

    return OpenedVolume(tuple(shape[:3]), affine, load)


def _notes(reader: Any, fields: Mapping[str, str], path: Path) -> list[str]:
    """Say what of the placement ITK assumes without a word."""
    rank = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(rank, rank)[:3, :3]
    return placement_notes(fields, direction, path)


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


def _kind_of_values(fields: Mapping[str, str], path: Path) -> str:
    """Return what NRRD calls the values of a voxel, ``""`` where it says nothing.

    Raises:
        InputError: they are neither frames nor colors.
    """
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()]
    kind = next((kind for kind in kinds if kind not in _DOMAINS), "")
    if kind in _NO_FRAMES:
        raise InputError(
            f"{path} holds a {kind} in every voxel; give a volume with one value per voxel, with "
            "frames or with RGB."
        )
    return kind


def _is_color(reader: Any, components: int, kind: str) -> bool:
    """Whether the values of a voxel are red, green, blue (and opacity)."""
    if kind in _COLORS:
        return True
    named = kind and kind not in _NAMELESS
    return not named and components in (3, 4) and reader.GetPixelID() in _BYTES


def _colors(
    voxels: npt.NDArray[Any], shape: list[int], components: int, path: Path
) -> npt.NDArray[np.float32]:
    """Return [3, H, W, D] in 0..255."""
    if len(shape) > 3:
        raise InputError(f"{path} is RGB in several time frames; give a single RGB volume.")
    return channels_first(voxels.reshape((*shape[::-1], components)).transpose(2, 1, 0, 3))


def _values(
    voxels: npt.NDArray[Any],
    shape: list[int],
    components: int,
    path: Path,
    *,
    modality: Modality | None,
    frames: Sequence[int] | None,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return [1, H, W, D] and a note on time frames."""
    if len(shape) > 4 or (len(shape) == 4 and components > 1):
        raise InputError(f"{path} has {len(shape) + (components > 1)} axes; give a 3-D volume.")
    if components > 1:
        parts = voxels.reshape((*shape[::-1], components))
        stack = FrameStack(components, lambda t: parts[..., t].T, called="values per voxel")
    elif len(shape) == 4:
        voxels = voxels.reshape(shape[::-1])
        stack = FrameStack(shape[3], lambda t: voxels[t].T)
    else:
        if frames is not None and list(frames) != [0]:
            raise InputError(f"{path} has a single time frame; leave frames={list(frames)} out.")
        plain = voxels.reshape(shape[::-1])
        return np.ascontiguousarray(plain.T, dtype=np.float32)[None], {}
    array, note = combine_frames(stack, path, modality=modality, frames=frames)
    return np.ascontiguousarray(array)[None], note
