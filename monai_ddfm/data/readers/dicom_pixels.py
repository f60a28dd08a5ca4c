"""Pixel values of DICOM frames: decoded by pydicom's plug-ins, then rescaled.

``MONOCHROME1`` says that a display shows the lowest value white. It says nothing about what a value
means: Hounsfield units, activity and counts stay what they are, whichever way they are displayed
(a PET stored as MONOCHROME1 has its high uptake in its high values). Only images without units of
their own (MR, digitized film), whose values mean nothing but brightness, are inverted.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from monai_ddfm.data.readers.dicom_apart import ApartDecoder, is_compressed
from monai_ddfm.data.readers.dicom_files import read_dataset
from monai_ddfm.data.readers.dicom_frames import Frame
from monai_ddfm.data.readers.tags import number, text, whole
from monai_ddfm.data.readers.volume import reason
from monai_ddfm.errors import InputError
from monai_ddfm.version import install_command

__all__ = ["FrameDecoder", "decode", "is_color"]


def is_color(header: Dataset) -> bool:
    """Whether an image is to be read as RGB."""
    return whole(header, "SamplesPerPixel", 1) > 1 or (
        text(header, "PhotometricInterpretation").upper() == "PALETTE COLOR"
    )


def decode(dataset: Dataset, path: Path, index: int) -> npt.NDArray[Any]:
    """Decode one frame.

    Args:
        dataset: an image with its pixel data.
        path: its file, for messages.
        index: the frame, from 0.

    Returns:
        [rows, columns] stored values, or [rows, columns, 3] RGB in 0..255 float32.

    Raises:
        InputError: no pixel data, cut off, or a compression that no plug-in here can decode.
    """
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{path} has no pixel data; fetch the file again.")
    try:
        if is_color(dataset):
            return _rgb(pixel_array(dataset, index=index), dataset)
        return _gray(dataset, index)
    except Exception as error:  # what plug-ins raise is not documented
        raise _undecodable(dataset, path, error) from error


def _gray(dataset: Dataset, index: int) -> npt.NDArray[Any]:
    """Decode values, also those whose bits do not end at the lowest one there.

    That is retired, but still around. pydicom takes the lowest bits whatever ``HighBit`` says, so
    it is shown all of them.
    """
    allocated, stored = whole(dataset, "BitsAllocated"), whole(dataset, "BitsStored")
    shift = whole(dataset, "HighBit", stored - 1) + 1 - stored
    if not 0 < shift <= allocated - stored:
        return pixel_array(dataset, index=index)
    shown = copy.copy(dataset)
    shown.file_meta = dataset.file_meta
    shown.BitsStored, shown.HighBit = allocated, allocated - 1
    pixels = pixel_array(shown, index=index)
    # Bits above the highest one may hold an overlay.
    above = allocated - stored - shift
    wide = pixels.astype(np.int64 if pixels.dtype.kind == "i" else np.uint64)
    bits = 64 - allocated + above
    moved: npt.NDArray[Any] = (wide << bits) >> (bits + shift)
    return moved.astype(pixels.dtype)


def _undecodable(dataset: Dataset, path: Path, error: Exception) -> InputError:
    syntax = UID(text(getattr(dataset, "file_meta", None), "TransferSyntaxUID"))
    if syntax.is_transfer_syntax and syntax.is_compressed:
        if "missing dependencies" in str(error):
            return InputError(
                f"{path} is compressed with {syntax.name}, for which no decoder is installed; "
                f"install them with `{install_command('dicom')}`."
            )
        return InputError(
            f"the pixels of {path} ({syntax.name}) cannot be decoded ({reason(error)}); fetch the "
            "file again or convert it to an uncompressed one."
        )
    return InputError(
        f"the pixel data of {path} are cut off or damaged ({reason(error)}); fetch the file again."
    )


def _rgb(pixels: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.float32]:
    if text(dataset, "PhotometricInterpretation").upper() == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, _native_palette(dataset))
    full = float(np.iinfo(pixels.dtype).max)
    return pixels[..., :3].astype(np.float32) * np.float32(255.0 / full)


def _native_palette(dataset: Dataset) -> Dataset:
    """Bring a palette to this machine's byte order, which pydicom leaves as it is in the file."""
    file_order = "little" if dataset.file_meta.TransferSyntaxUID.is_little_endian else "big"
    names = [f"{c}PaletteColorLookupTable" for c in ("Red", "Green", "Blue")]
    if file_order == sys.byteorder or any(f"{name}Data" not in dataset for name in names):
        return dataset
    swapped = copy.copy(dataset)
    for name in names:
        data = dataset[f"{name}Data"].value
        if len(data) >= 2 * (dataset[f"{name}Descriptor"].value[0] or 2**16):
            setattr(swapped, f"{name}Data", np.frombuffer(data, np.uint16).byteswap().tobytes())
    return swapped


class FrameDecoder:
    """Decodes frames to values in their units, keeping the last file open in memory."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset = Dataset()
        self._packed = False
        self._apart = ApartDecoder()

    def __call__(self, frame: Frame) -> npt.NDArray[np.float32]:
        """Decode one frame.

        Args:
            frame: the frame.

        Returns:
            [columns, rows] rescaled values with NaN for padding, or [columns, rows, 3] RGB.

        Raises:
            InputError: the pixels cannot be decoded.
        """
        if frame.file.path != self._path:
            self._packed = is_compressed(frame.file.header)
            self._dataset = read_dataset(frame.file.path, pixels=not self._packed)
            self._path = frame.file.path
        dataset = self._dataset
        stored = (
            self._apart(frame.file.path, frame.index)
            if self._packed
            else decode(dataset, frame.file.path, frame.index)
        )
        if stored.shape[:2] != frame.size[::-1]:
            raise InputError(f"the pixels of {frame.file.path} do not have the size it claims.")
        if stored.ndim == 3:
            return np.ascontiguousarray(stored.transpose(1, 0, 2), dtype=np.float32)
        if "ModalityLUTSequence" in dataset:
            try:
                values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
            except Exception as error:  # a damaged table
                raise _undecodable(dataset, frame.file.path, error) from error
        else:
            values = self._rescaled(stored, frame)
        values[_padding(stored, dataset)] = np.nan
        return np.ascontiguousarray(values.T)

    def _rescaled(self, stored: npt.NDArray[Any], frame: Frame) -> npt.NDArray[np.float32]:
        values = frame.rescaling(stored)
        uncovered = np.isnan(values) & ~_padding(stored, self._dataset)
        if frame.rescaling.segments and uncovered.any():
            raise InputError(
                f"{frame.name} has the stored value {stored[uncovered][0]}, for which its "
                "real-world value mapping says nothing; export the series again."
            )
        return values


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return which pixels were never measured (outside the field of view)."""
    value = number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padded: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padded
