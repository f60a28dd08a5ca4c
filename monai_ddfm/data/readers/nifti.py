"""NIfTI (and FreeSurfer MGH) files through nibabel.

The affine is the one nibabel chooses: the sform where its code is set, else the qform, else the
voxel sizes alone. A quaternion that rounding has made longer than 1 is normalized, and does not
matter beside an sform. MONAI's own reader replaces an sform whose voxel sizes differ from
``pixdim`` by the qform; the NIfTI standard (method 3) does not ask the two to agree, so here the
sform stands, and a disagreement is reported.

A fourth axis is one of frames. Colors are what the header calls so: RGB24, RGBA32, the intent of a
color vector, or bytes along the fifth axis, which is the one for vectors.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from monai_ddfm.data.readers.checks import check_affine, check_shape
from monai_ddfm.data.readers.nifti_claims import (
    check_nifti_claim,
    check_nifti_start,
    check_nifti_whole,
)
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

__all__ = ["open_nifti", "opened_nifti"]

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
_MGH_FLAG = 28  # bytes before goodRASFlag
_COLOR_INTENTS = (2003, 2004)
_VECTOR_INTENT = 1007
_ROUNDED_LENGTH = 1.0001
_QUATERNION_LENGTH = 1.05
"""Longer ones are no rounding any more."""
_NOWHERE = "the header does not place the volume in space: its axes and its centre are assumed"


def opened_nifti(
    path: Path, *, modality: Modality | None = None, frames: Sequence[int] | None = None
) -> OpenedVolume:
    """Read the header of a NIfTI or MGH file.

    Args:
        path: the file.
        modality: what was measured, decides what happens to a fourth axis.
        frames: 0-based time frames of a 4-D file to average.

    Returns:
        What loads the volume; values have the header's slope and intercept applied. Colors give
        [3, H, W, D].

    Raises:
        InputError: the file cannot be read or is not a usable volume.
    """
    check_nifti_start(path)
    try:
        image, mended = open_nifti(path)
        shape = tuple(int(n) for n in image.shape)
        affine = np.array(image.affine, dtype=np.float64)
        notes = [*mended, *_placement_notes(image, path)]
    except InputError:
        raise
    except Exception as error:  # what nibabel raises on a damaged header is not documented
        raise _unreadable(path, error) from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1 and not _is_color(image, shape, modality):
        shape = (*shape[:3], shape[4])  # a vector of values without a name is one of frames
        notes.append(f"{shape[3]} values per voxel were taken as frames, not as colors")
    check_shape(shape[:3], path)
    affine[:3] *= _millimetres(image)
    check_affine(affine, path)
    check_nifti_claim(image, shape, path, in_color=_is_color(image, shape, modality))

    def load() -> Volume:
        check_nifti_whole(image, shape, path)
        try:
            array, frame_note = _voxels(image, shape, path, modality, frames)
        except InputError:
            raise
        except _FAULTS as error:
            raise _unreadable(path, error) from error
        report = {"format": type(image).__name__, "frames": frame_note, "notes": notes}
        return Volume(array, affine, _header_fields(image), report)

    return OpenedVolume(shape[:3], affine, load)


def _unreadable(path: Path, error: BaseException) -> InputError:
    kind = "MGH" if path.name.lower().endswith((".mgh", ".mgz")) else "NIfTI"
    return InputError(
        f"{path} is not a readable {kind} image ({reason(error)}); export or fetch the file again."
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
    if _is_color(image, shape, modality):
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
    stack = FrameStack(shape[3], lambda t: _frame(image, t).reshape(shape[:3]))
    array, note = combine_frames(stack, path, modality=modality, frames=frames)
    return array[None], note


def _frame(image: Any, index: int) -> npt.NDArray[Any]:
    """Load one frame, whether they are along the fourth or along the fifth axis."""
    axis = next(a for a in range(3, len(image.shape)) if image.shape[a] > 1)
    return np.asarray(image.dataobj[(..., *(0,) * (axis - 3), index)[: axis - 1]])


def _is_color(image: Any, shape: tuple[int, ...], modality: Modality | None) -> bool:
    """Whether the last axis holds red, green, blue (and opacity)."""
    if len(shape) not in (4, 5) or shape[-1] not in (3, 4) or (len(shape) == 5 and shape[3] > 1):
        return False
    intent = int(image.header["intent_code"]) if "intent_code" in image.header else 0
    if intent in _COLOR_INTENTS:
        return True
    dtype = image.get_data_dtype()
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    if len(shape) == 5 and dtype == np.uint8 and not scaled:
        return True
    if modality is not None:
        return False
    # Of a volume of which nothing is known, frames could not be used anyway.
    if len(shape) == 4:
        return shape[3] == 3 and dtype == np.uint8
    return dtype.kind == "f" and intent in (0, _VECTOR_INTENT)


def _millimetres(image: Any) -> float:
    if not hasattr(image.header, "get_xyzt_units"):
        return 1.0
    try:
        return _MM.get(str(image.header.get_xyzt_units()[0]), 1.0)
    except KeyError:
        return 1.0


@contextmanager
def _mends() -> Iterator[list[str]]:
    """Collect what nibabel mends in a header; it would print it, in the midst of anything."""
    found: list[str] = []
    logger = logging.getLogger("nibabel.global")

    def keep(record: logging.LogRecord) -> bool:
        told = f"the header is damaged: {record.getMessage()}"
        if record.levelno >= logging.WARNING and told not in found:
            found.append(told)
        return False

    logger.addFilter(keep)
    try:
        yield found
    finally:
        logger.removeFilter(keep)


def open_nifti(path: Path) -> tuple[Any, list[str]]:
    """Open an image, whatever the length of its quaternion; who reads it judges that.

    Returns:
        The image, and what nibabel has mended in its header.
    """
    with _mends() as mended:
        try:
            return nib.load(path, keep_file_open=True), mended
        except ValueError as error:
            if "w2 should be positive" not in str(error):
                raise
        for kind in (nib.Nifti1Image, nib.Nifti1Pair, nib.Nifti2Image, nib.Nifti2Pair):
            lenient: Any = type(kind.__name__, (kind,), {"header_class": _any_quaternion(kind)})
            try:
                return lenient.from_filename(path, keep_file_open=True), mended
            except (ImageFileError, HeaderDataError):
                continue
    raise ImageFileError("its header is of no known kind")


def _any_quaternion(kind: Any) -> Any:
    """Return a class of headers that lets every quaternion pass."""
    return type(kind.header_class.__name__, (kind.header_class,), {"quaternion_threshold": -np.inf})


def _placement_notes(image: Any, path: Path) -> list[str]:
    """Look at how the header places the volume; nibabel mends some faults without a word."""
    if isinstance(image, nib.MGHImage):
        return [] if _is_placed_mgh(image) else [_NOWHERE]
    if not isinstance(image, nib.Nifti1Pair):
        return [_NOWHERE]
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
    found = _quaternion_note(image.header, codes, path) if codes[0] > 0 else ""
    if not found and min(codes) > 0:
        found = _disagreement(image)
    return [found] if found else []


def _quaternion_note(header: Any, codes: tuple[int, int], path: Path) -> str:
    """Judge the length of a quaternion, of which nibabel makes a rotation in any case."""
    length = float(np.linalg.norm([float(header[f"quatern_{axis}"]) for axis in "bcd"]))
    if length > _QUATERNION_LENGTH and codes[1] <= 0:
        raise InputError(
            f"the quaternion that places {path} has a length of {length:.3f}, which cannot be; "
            "correct the header or export the volume again."
        )
    if length > _QUATERNION_LENGTH:
        return f"the qform's quaternion has a length of {length:.3f}; the sform is used"
    if length > _ROUNDED_LENGTH and codes[1] <= 0:
        return f"the quaternion that places the volume has a length of {length:.4f}: normalized"
    return ""


def _disagreement(image: Any) -> str:
    """Say how far sform and qform place a corner apart, if that matters."""
    image.header.quaternion_threshold = -np.inf  # of this header; the product is normalized
    size = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)])
    size[:, :3] *= np.array(image.shape[:3]) - 1
    moved = size @ (image.get_sform() - image.get_qform()).T
    apart = float(np.linalg.norm(moved, axis=1).max())
    if not np.isfinite(apart):
        return "the qform holds values that are not finite; the sform is used"
    if apart <= _DISAGREE_MM:
        return ""
    return f"sform and qform disagree by up to {apart:.1f} mm; the sform is used"


def _is_placed_mgh(image: Any) -> bool:
    """Whether an MGH header has directions; nibabel fills them in without a word."""
    with ImageOpener(image.file_map["image"].filename) as stream:
        begin = stream.read(_MGH_FLAG + 2)
    return int.from_bytes(begin[_MGH_FLAG:], "big") == 1


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
