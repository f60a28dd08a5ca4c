"""NIfTI-1 files on the grid of the MRI they belong to.

A NIfTI header places the voxels twice: by a rotation with offsets (qform) and by a general affine
(sform), each with a code that names the space. Viewers differ in which one they believe, so both
are carried over from the MRI's own header. On the MRI's grid they are copied bit by bit. On another
grid of the same space, where A is the affine that the MRI's header gives and B that of the new
grid, a form F of the MRI becomes

    F' = F A^-1 B,

which is B itself for the form that A was taken from.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.files import NOTICE, atomic_path
from monai_ddfm.utils.slabs import slabs

__all__ = ["write_nifti"]

_RGB24 = np.dtype([("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])
_SCANNER = 1
_FORM_FIELDS = {  # header field: number of values
    "quatern_b": 1,
    "quatern_c": 1,
    "quatern_d": 1,
    "qoffset_x": 1,
    "qoffset_y": 1,
    "qoffset_z": 1,
    "srow_x": 4,
    "srow_y": 4,
    "srow_z": 4,
}


def write_nifti(
    path: str | Path,
    data: Any,
    affine: Any,
    *,
    template: Mapping[str, Any] | None = None,
    description: str = "",
    display_range: tuple[float, float] | None = None,
) -> None:
    """Write one volume as NIfTI-1, whole or not at all.

    Args:
        path: file name that ends in ``.nii`` or ``.nii.gz``.
        data: [H, W, D] or [1, H, W, D] of any number type, written unscaled as float32; or
            [3, H, W, D], floats in [0, 1] or uint8, written with the datatype RGB24.
        affine: [4, 4], voxel indices to RAS millimeters.
        template: header fields of the MRI, as in the metadata of MONAI's readers, from which qform
            and sform with their codes are kept. Without it (DICOM, NRRD) both say "scanner".
        description: what the volume is; the header's text of 80 bytes ends with the notice that it
            is not for diagnosis.
        display_range: the values that a viewer shall show as black and white.

    Raises:
        ValueError: wrong shape, suffix, or colors that are not finite.
        InputError: the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path.name!r} must end in .nii or .nii.gz")
    voxels = _voxels(as_array(data))
    header = _header(voxels.shape, as_array(affine).astype(np.float64), template or {})
    header.set_data_dtype(voxels.dtype)
    header.set_xyzt_units("mm")
    header["descrip"] = _description(description)
    if display_range is not None:
        header["cal_min"], header["cal_max"] = display_range
    image = nib.Nifti1Image(voxels, header.get_best_affine(), header)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def _voxels(data: NDArray[Any]) -> NDArray[Any]:
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    if data.ndim == 3:
        return data.astype(np.float32, copy=False)
    if data.ndim != 4 or data.shape[0] != 3:
        raise ValueError(f"expected [H, W, D], [1, H, W, D] or [3, H, W, D], got {data.shape}")
    voxels = np.empty((*data.shape[1:], 3), np.uint8)
    for part in slabs(data.shape[1:]):
        colors = data[:, part]
        if data.dtype != np.uint8:
            if not np.isfinite(colors).all():
                raise ValueError("a color volume must be finite")
            colors = np.rint(np.clip(colors, 0, 1) * 255)
        voxels[part] = np.moveaxis(colors, 0, -1)
    return voxels.view(_RGB24)[..., 0]


def _header(
    shape: tuple[int, ...], affine: NDArray[np.float64], template: Mapping[str, Any]
) -> nib.Nifti1Header:
    """Place a grid in the space of `template`; see the formula at the top."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    original = _template_header(template)
    if original is not None and _close(original.get_best_affine(), affine):
        for field in ("pixdim", "qform_code", "sform_code", *_FORM_FIELDS):
            header[field] = original[field]
        return header
    qform_code, sform_code = _code(template, "qform_code"), _code(template, "sform_code")
    qform = sform = affine
    if original is not None:
        move = np.linalg.inv(original.get_best_affine()) @ affine
        with suppress(HeaderDataError, ValueError):  # nonsense in a qform beside a good sform
            qform = original.get_qform() @ move if qform_code else affine
        sform = original.get_sform() @ move if sform_code else affine
    header.set_qform(qform, qform_code)
    header.set_sform(sform, sform_code)
    if not _close(header.get_qform(), qform):
        header["qform_code"] = 0  # sheared: a quaternion cannot hold it, so none is better
    if not _close(header.get_best_affine(), affine):
        header.set_sform(affine, _SCANNER)
    return header


def _close(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return np.allclose(first, second, rtol=1e-5, atol=1e-4)


def _template_header(template: Mapping[str, Any]) -> nib.Nifti1Header | None:
    """Rebuild the MRI's header from metadata; None if it was not a NIfTI header."""
    pixdim = _numbers(template, "original_pixdim", 8)
    if pixdim is None:
        pixdim = _numbers(template, "pixdim", 8)
    shape = _numbers(template, "dim", 8)
    fields = {name: _numbers(template, name, size) for name, size in _FORM_FIELDS.items()}
    if pixdim is None or shape is None or any(value is None for value in fields.values()):
        return None
    header = nib.Nifti1Header()
    header["dim"], header["pixdim"] = shape, pixdim
    for name, value in fields.items():
        header[name] = value if value is None or value.size > 1 else value[0]
    header["qform_code"] = _code(template, "qform_code")
    header["sform_code"] = _code(template, "sform_code")
    return header


def _numbers(template: Mapping[str, Any], name: str, size: int) -> NDArray[np.float64] | None:
    value = template.get(name)
    if value is None or isinstance(value, str):
        return None
    values = as_array(value).astype(np.float64).reshape(-1)
    return values if values.size == size else None


def _code(template: Mapping[str, Any], name: str) -> int:
    """Return a form code; ITK's reader gives text, a batch gives tensors, DICOM gives none."""
    try:
        return int(float(as_array(template[name]).reshape(-1)[0]))
    except (KeyError, ValueError, IndexError):
        return _SCANNER


def _description(text: str) -> bytes:
    end = f"; {NOTICE}" if text else NOTICE
    return (text.encode("ascii", "replace")[: 79 - len(end)]) + end.encode("ascii")
