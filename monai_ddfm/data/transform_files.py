"""Spatial transforms as ITK files, as text that travels in metadata, and as 4x4 matrices.

One convention everywhere, that of ITK's resampling: a transform maps points of the *fixed* volume
to points of the *moving* one, in LPS millimeters. It is what ``SimpleITK.Resample(moving, fixed,
transform)`` takes and what 3D Slicer reads as a transform "from parent": put on the moving volume,
it moves that onto the fixed one. A file made the other way round is used with ``invert=True``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from monai.data import MetaTensor

from monai_ddfm.data.transform_claims import MiscountError, is_plain
from monai_ddfm.errors import InputError
from monai_ddfm.utils.apart import DiedError, run_apart
from monai_ddfm.utils.reports import reports_of

__all__ = [
    "CONVENTION",
    "as_affine",
    "attach_transform",
    "has_transform",
    "read_transform",
    "transform_matrix",
    "transform_of",
    "write_transform",
]

CONVENTION = (
    "ITK resampling: maps points of the fixed volume to points of the moving volume, LPS mm"
)
_KEY = "ddfm_transform"
_SUFFIXES = (".tfm", ".txt", ".h5", ".hdf5", ".mat")
_CHILD = "monai_ddfm.data.transform_child"
_MOST_SECONDS = 120.0
_LONGEST = 100_000  # parameters; dense displacement fields stay in their file


def read_transform(path: str | os.PathLike[str], *, invert: bool = False) -> Any:
    """Read an ITK transform file.

    Args:
        path: .tfm or .txt (text), .h5 (HDF5) or .mat (ITK's binary, not FSL's text of that name).
        invert: use the inverse, for a file that maps points of moving to points of fixed.

    Returns:
        `SimpleITK.Transform` in the convention of this module.

    Raises:
        InputError: the file is missing, holds no ITK transform in three dimensions, or is to be
            inverted and cannot be.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no transform file {file}: check the path")
    if file.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{file} does not end in .tfm, .txt, .h5 or .mat: give an ITK transform file"
        )
    transform = _read(file)
    if transform.GetDimension() != 3:
        raise InputError(
            f"{file} transforms {transform.GetDimension()} dimensions: give one for volumes"
        )
    if transform.IsLinear():
        matrix = transform_matrix(transform)
        if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise InputError(f"the transform in {file} is singular: give an invertible one")
        if np.linalg.det(matrix[:3, :3]) < 0:
            raise InputError(
                f"the transform in {file} mirrors the head: give one that leaves left and right"
            )
        transform = as_affine(transform)
    if not invert:
        return transform
    try:
        return transform.GetInverse()
    except RuntimeError as error:
        raise InputError(
            f"the transform in {file} has no inverse that ITK can compute: export it from the "
            "registering program in the other direction"
        ) from error


def _read(file: Path) -> Any:
    """Read a file that may be damaged."""
    try:
        if is_plain(file):
            return sitk.ReadTransform(str(file)).Downcast()
        with tempfile.TemporaryDirectory() as folder:
            clean = Path(folder) / "transform.h5"
            run_apart(_CHILD, str(file.absolute()), str(clean), seconds=_MOST_SECONDS)
            return sitk.ReadTransform(str(clean)).Downcast()
    except (DiedError, MiscountError) as error:
        raise InputError(
            f"{file} holds no ITK transform that can be read, {error}: convert it to .tfm "
            "(FSL's .mat, for example, with c3d_affine_tool -fsl2ras -oitk)"
        ) from error
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} holds no ITK transform that can be read: export it again"
        ) from error


def write_transform(source: Any, path: str | os.PathLike[str]) -> Path:
    """Write a transform as an ITK file, whole or not at all.

    The file is in the convention of this module (fixed to moving, LPS mm), so that
    ``SimpleITK.Resample(moving, fixed, SimpleITK.ReadTransform(path))`` repeats the resampling,
    and 3D Slicer aligns the moving volume when it is put under the transform.

    Args:
        source: a volume that has come out of a registration transform, a `SimpleITK.Transform`, or
            a 4x4 matrix.
        path: file to write, .tfm, .txt, .h5 or .mat.

    Returns:
        The path.

    Raises:
        InputError: the volume has not been registered, the suffix is unknown, or the file cannot be
            written.
    """
    file = Path(path)
    if file.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{file} does not end in .tfm, .txt, .h5 or .mat: choose one of these")
    if isinstance(source, MetaTensor) and source.ndim == 4:
        transform = transform_of(source)
    elif isinstance(source, sitk.Transform):
        transform = source
    else:
        transform = _from_matrix(np.asarray(source, dtype=np.float64))
    partial = file.with_name(f".{file.stem}.{os.getpid()}.part{file.suffix}")
    try:
        sitk.WriteTransform(transform, str(partial))
        partial.replace(file)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{file} cannot be written: choose a folder that can be") from error
    finally:
        partial.unlink(missing_ok=True)
    return file


def attach_transform(volume: MetaTensor, transform: Any) -> None:
    """Keep `transform` in the metadata of `volume`, as the text of a .tfm file.

    Text passes unchanged through MONAI's collate and decollate functions. Dense displacement
    fields, hundreds of megabytes as text, are not attached.

    Args:
        volume: the registered volume.
        transform: `SimpleITK.Transform`, fixed to moving.
    """
    if len(transform.GetParameters()) > _LONGEST or _is_field(transform):
        volume.meta.pop(_KEY, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "transform.tfm"
        sitk.WriteTransform(transform, str(file))
        volume.meta[_KEY] = file.read_text(encoding="ascii")


def has_transform(volume: MetaTensor) -> bool:
    """Whether `transform_of` has a transform for a volume."""
    return isinstance(volume.meta.get(_KEY), str) or "file" in _registration(volume)


def transform_of(volume: MetaTensor) -> Any:
    """Return the transform that `volume` was resampled with.

    Args:
        volume: output of one of the registration transforms.

    Returns:
        `SimpleITK.Transform`, fixed to moving.

    Raises:
        InputError: the volume carries none.
    """
    text = volume.meta.get(_KEY)
    if isinstance(text, str):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "transform.tfm"
            file.write_text(text, encoding="ascii")
            return sitk.ReadTransform(str(file)).Downcast()
    report = _registration(volume)
    if "file" not in report:
        raise InputError("this volume carries no transform: register it first")
    return read_transform(report["file"], invert=bool(report.get("inverted")))


def _registration(volume: MetaTensor) -> Mapping[str, Any]:
    report: Mapping[str, Any] = reports_of(volume).get("registration", {})
    return report


def transform_matrix(transform: Any) -> npt.NDArray[np.float64]:
    """Return a linear transform as a matrix.

    Args:
        transform: linear `SimpleITK.Transform` in three dimensions.

    Returns:
        4x4 matrix acting on column vectors (x, y, z, 1) in LPS mm.
    """
    affine = as_affine(transform)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(affine.GetMatrix(), (3, 3))
    matrix[:3, 3] = affine.GetTranslation()
    return matrix


def as_affine(transform: Any) -> Any:
    """Rewrite a linear transform as an `AffineTransform` about the origin of the coordinates.

    Args:
        transform: any linear `SimpleITK.Transform` in three dimensions.

    Returns:
        The same map; its translation is the last column of the 4x4 matrix.
    """
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    if hasattr(transform, "GetMatrix"):
        matrix = np.reshape(transform.GetMatrix(), (3, 3))
    else:
        # Far from the origin, so that differences keep their digits.
        axes = [np.array(transform.TransformPoint(e)) - offset for e in (1e3 * np.eye(3)).tolist()]
        matrix = np.stack(axes, axis=1) / 1e3
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetTranslation(offset.tolist())
    return affine


def _from_matrix(matrix: npt.NDArray[np.float64]) -> Any:
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise InputError("a transform is written from a 4x4 matrix with the last row 0 0 0 1")
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix[:3, 3].tolist())
    return affine


def _is_field(transform: Any) -> bool:
    return bool(transform.GetTransformEnum() == sitk.sitkDisplacementField)
