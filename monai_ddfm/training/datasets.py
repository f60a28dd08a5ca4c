"""Two-dimensional slices for the prior's training, from mosaics, single pictures or volumes.

A *source* is one folder with one kind of content. Mosaics hold many slices of equal size in one
picture; ``tile`` is their side in pixels. Volumes (NIfTI) give their slices of all three planes
where their voxels are nearly cubic, else of their own plane only. Every slice is brought to one
square canvas, so that a batch can be stacked; its pixel size follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import Dataset
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError

__all__ = ["SliceDataset", "read_slices"]

_PICTURES = {".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff"}
_MIN_TISSUE = 0.03
_CUBIC = 1.6


class SliceDataset(Dataset):  # type: ignore[misc]
    """Slices of several sources, held in memory as 8-bit canvases.

    Args:
        sources: mappings with ``folder`` and optionally ``tile`` (side of a mosaic's tiles in
            pixels), ``pixel_mm`` (pixel size of pictures in mm, default 1) and ``repeat`` (how many
            times each slice counts, default 1).
        canvas: side in pixels of the square that every slice is resampled to.

    Raises:
        InputError: if a source's folder is missing, holds no readable slice or a broken file.
    """

    def __init__(self, sources: Sequence[Mapping[str, Any]], *, canvas: int = 256) -> None:
        items = []
        for source in sources:
            folder = Path(source["folder"])
            slices = [
                _on_canvas(image, pixel_mm, canvas=canvas)
                for image, pixel_mm in read_slices(
                    folder, tile=source.get("tile"), pixel_mm=source.get("pixel_mm", 1.0)
                )
            ]
            if not slices:
                raise InputError(
                    f"{folder}: no slice with tissue in it; name a folder that has some"
                )
            items += slices * int(source.get("repeat", 1))
        super().__init__(data=items)


def read_slices(
    folder: Path, *, tile: int | None = None, pixel_mm: float = 1.0
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Read every slice below `folder`, in the order of the file names.

    Args:
        folder: searched with its sub-folders for pictures and NIfTI volumes.
        tile: side of a mosaic's tiles in pixels; None if a picture is one slice.
        pixel_mm: pixel size of pictures in mm; volumes know their own.

    Yields:
        Slice [h, w] in [0, 1] and its pixel size in mm. Slices with almost no tissue are left out.

    Raises:
        InputError: if the folder is missing or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one with pictures or NIfTI volumes")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _PICTURES:
            candidates = _picture_slices(path, tile, pixel_mm)
        elif path.name.endswith((".nii", ".nii.gz")):
            candidates = _volume_slices(path)
        else:
            continue
        for image, size in candidates:
            if (image > 0.1).mean() > _MIN_TISSUE:
                yield image, size


def _picture_slices(
    path: Path, tile: int | None, pixel_mm: float
) -> Iterator[tuple[NDArray[np.float32], float]]:
    try:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255)
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not a readable picture; mend or remove it ({error})") from error
    if tile is None:
        yield grey, pixel_mm
        return
    if grey.shape[0] % tile or grey.shape[1] % tile:
        raise InputError(f"{path}: {grey.shape} pixels cannot be cut into tiles of {tile}")
    for top in range(0, grey.shape[0], tile):
        for left in range(0, grey.shape[1], tile):
            yield grey[top : top + tile, left : left + tile], pixel_mm


def _volume_slices(path: Path) -> Iterator[tuple[NDArray[np.float32], float]]:
    try:
        image = nib.load(path)
        volume = np.asarray(image.dataobj, dtype=np.float32)
        spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)
    except Exception as error:  # nibabel raises many kinds; every one means the same here
        raise InputError(f"{path}: not a readable volume; mend or remove it ({error})") from error
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise InputError(f"{path}: training needs finite 3-D volumes; remove or convert it")
    low, high = np.percentile(volume, [0.5, 99.8])
    volume = np.clip((volume - low) / max(float(high - low), 1e-6), 0, 1)
    for axis in range(3):
        in_plane = np.delete(spacing, axis)
        if in_plane.max() / in_plane.min() > _CUBIC:
            continue
        for index in range(volume.shape[axis]):
            yield np.take(volume, index, axis=axis), float(in_plane.mean())


def _on_canvas(image: NDArray[np.float32], pixel_mm: float, *, canvas: int) -> dict[str, Tensor]:
    """Centre the slice on a square of its longer side and resample that to the canvas."""
    height, width = image.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = functional.pad(
        torch.from_numpy(np.ascontiguousarray(image))[None, None],
        [left, side - width - left, top, side - height - top],
    )
    if side != canvas:
        square = functional.interpolate(
            square, (canvas, canvas), mode="bicubic", antialias=True, align_corners=False
        )
    return {
        "image": (square[0].clamp(0, 1) * 255).round().to(torch.uint8),
        "pixel_mm": torch.tensor(pixel_mm * side / canvas),
        "detail_mm": torch.tensor(pixel_mm),
    }
