"""NIfTI (and FreeSurfer MGH) files through nibabel.

The affine is the one nibabel chooses: the sform where its code is set, else the qform, else the
voxel sizes alone. MONAI's own reader replaces an sform whose voxel sizes differ from ``pixdim`` by
the qform; the NIfTI standard (method 3) does not ask the two to agree, so here the sform stands,
and a disagreement is reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from monai_ddfm.errors import InputError
from monai_ddfm.modality import Modality
from monai_ddfm.readers.checks import check_affine, check_shape
from monai_ddfm.readers.nifti_claims import check_nifti_claim, check_nifti_start
from monai_ddfm.readers.volume import FrameStack, Volume, channels_first, combine_frames, reason

__all__ = ["NIFTI_SUFFIXES", "read_nifti"]

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".mgz", ".mgh")

_FAULTS = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
    KeyError,
    zlib.error,
)
_MM = {"meter": 1000.0, "micron": 0.001}
_DISAGREE_MM = 1.0
_NOWHERE = "the header does not place the volume in space: its axes and its centre are assumed"


def read_nifti(
    path: Path, *, modality: Modality | None = None, frames: Sequence[int] | None = None
) -> Volume:
    """Read a NIfTI or MGH file.

    Args:
        path: the file.
        modality: what was measured, decides what happens to a fourth axis.
        frames: 0-based time frames of a 4-D file to average.

    Returns:
        The volume; values have the header's slope and intercept applied. RGB24, RGBA32, vectors
        of three and bytes with a fourth axis of three give [3, H, W, D].

    Raises:
        InputError: the file cannot be read or is not a usable volume.
    """
    check_nifti_start(path)
    try:
        image = nib.load(path, keep_file_open=True)
        shape = tuple(int(n) for n in image.shape)
        affine = np.array(image.affine, dtype=np.float64)
        notes = _placement_notes(image, path)
    except InputError:
        raise
    except Exception as error:  # what nibabel raises on a damaged header is not documented
        raise _unreadable(path, error) from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    check_shape(shape[:3], path)
    affine[:3] *= _millimetres(image)
    check_affine(affine, path)
    check_nifti_claim(image, shape, path)
    try:
        array, frame_note = _voxels(image, shape, path, modality, frames)
    except InputError:
        raise
    except _FAULTS as error:
        raise _unreadable(path, error) from error
    meta = _header_fields(image)
    report = {"format": type(image).__name__, "frames": frame_note, "notes": notes}
    return Volume(array, affine, meta, report)


def _unreadable(path: Path, error: BaseException) -> InputError:
    return InputError(
        f"{path} is not a readable NIfTI image ({reason(error)}); export or fetch the file again."
    )


def _voxels(
    image: Any,
    shape: tuple[int, ...],
    path: Path,
    modality: Modality | None,
    frames: Sequence[int] | None,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return [C, H, W, D] and a note on time frames."""
    dtype = image.get_data_dtype()
    if dtype.kind == "c":
        raise InputError(f"{path} holds complex numbers; give their magnitude as a real volume.")
    if dtype.fields is not None:
        rgb = np.asanyarray(image.dataobj).reshape(shape)
        return channels_first(np.stack([rgb[c] for c in "RGB"], axis=-1)), {}
    if _is_color(shape, dtype):
        rgb = np.asanyarray(image.dataobj).reshape((*shape[:3], shape[-1]))
        return channels_first(rgb), {}
    if len(shape) == 3:
        if frames is not None and list(frames) != [0]:
            raise InputError(f"{path} has a single time frame; leave frames={list(frames)} out.")
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is counted later
            return np.asarray(image.dataobj).reshape(shape).astype(np.float32)[None], {}
    if len(shape) > 4:
        sizes = " x ".join(map(str, shape))
        raise InputError(f"{path} has {len(shape)} axes (size {sizes}); give a 3-D volume.")
    stack = FrameStack(shape[3], lambda t: np.asarray(image.dataobj[..., t]).reshape(shape[:3]))
    array, note = combine_frames(stack, path, modality=modality, frames=frames)
    return array[None], note


def _is_color(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the last axis holds red, green, blue (and opacity)."""
    if len(shape) == 5:
        return shape[3] == 1 and shape[4] in (3, 4)
    return len(shape) == 4 and shape[3] == 3 and dtype == np.uint8


def _millimetres(image: Any) -> float:
    if not hasattr(image.header, "get_xyzt_units"):
        return 1.0
    try:
        return _MM.get(str(image.header.get_xyzt_units()[0]), 1.0)
    except KeyError:
        return 1.0


def _placement_notes(image: Any, path: Path) -> list[str]:
    """Look at how the header places the volume; nibabel mends some faults without a word."""
    if not isinstance(image, nib.Nifti1Pair):
        return [] if isinstance(image, nib.MGHImage) else [_NOWHERE]
    codes = int(image.header["qform_code"]), int(image.header["sform_code"])
    if codes[1] <= 0:
        holder = image.file_map.get("header") or image.file_map["image"]
        with ImageOpener(holder.filename) as stream:
            raw = type(image.header).from_fileobj(stream, check=False)
        if not (raw["pixdim"][1:4] != 0).all():
            raise InputError(
                f"the voxels of {path} have a size of zero; correct the header or export the "
                "volume again."
            )
    if max(codes) <= 0:
        return [_NOWHERE]
    if min(codes) > 0:
        size = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)])
        size[:, :3] *= np.array(image.shape[:3]) - 1
        moved = size @ (image.get_sform() - image.get_qform()).T
        apart = float(np.linalg.norm(moved, axis=1).max())
        if not apart <= _DISAGREE_MM:
            return [f"sform and qform disagree by up to {apart:.1f} mm; the sform is used"]
    return []


def _header_fields(image: Any) -> dict[str, Any]:
    """Return the numeric header fields in native byte order, as MONAI's reader names them."""
    fields: dict[str, Any] = {}
    for key, value in dict(image.header).items():
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            fields[str(key)] = array.astype(array.dtype.newbyteorder("="))
    if "pixdim" in fields:
        fields["original_pixdim"] = fields["pixdim"].copy()
    fields["as_closest_canonical"] = False
    return fields
