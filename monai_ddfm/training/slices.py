"""Reading two-dimensional slices from mosaics, single pictures and NIfTI volumes.

Mosaics hold many slices of equal size in one picture; ``tile`` is their side in pixels. Volumes
give their slices of all three planes where their voxels are nearly cubic, else of their own plane
only. Grey values are scaled to [0, 1]: 8-bit pictures by 255, everything else by the volume's or
picture's own 0.5 and 99.8 percentiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from monai_ddfm.errors import InputError

__all__ = ["Part", "Slice", "image_files", "read_slices"]

Slice = tuple[NDArray[np.float32], float]
"""A picture [h, w] in [0, 1] and its pixel size in mm."""
Part = Literal["train", "val"]

_PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")
_FORMATS = ("PNG", "WEBP", "JPEG", "TIFF")  # others Pillow gives to other programs
_VOLUMES = (".nii", ".nii.gz")
_MIN_TISSUE = 0.03
_CUBIC = 1.6
_HELD_OUT = 10


def read_slices(
    folder: Path,
    *,
    tile: int | None = None,
    pixel_mm: float = 1.0,
    part: Part | None = None,
    slices_per_volume: int = 96,
) -> Iterator[Slice]:
    """Read the slices below `folder`, in the order of the file names.

    Args:
        folder: searched with its sub-folders for pictures and NIfTI volumes.
        tile: side of a mosaic's tiles in pixels; None if a picture is one slice.
        pixel_mm: pixel size of pictures in mm; volumes know their own.
        part: see `image_files`.
        slices_per_volume: at most so many of a volume's slices, evenly spread.

    Yields:
        Slice [h, w] in [0, 1] and its pixel size in mm. Slices with almost no tissue are left out.

    Raises:
        InputError: if the folder is missing or has no image, or a file cannot be read.
    """
    for path in image_files(folder, part=part):
        if path.name.lower().endswith(_PICTURES):
            candidates = _picture_slices(path, tile, pixel_mm)
            wanted = None
        else:
            candidates = _volume_slices(path)
            wanted = slices_per_volume
        kept = [found for found in candidates if (found[0] > 0.1).mean() > _MIN_TISSUE]
        if wanted is not None and len(kept) > wanted:
            kept = [
                kept[index] for index in np.linspace(0, len(kept) - 1, wanted).round().astype(int)
            ]
        yield from kept


def image_files(folder: Path, *, part: Part | None = None) -> list[Path]:
    """List the pictures and volumes below `folder`, sorted.

    Args:
        folder: searched with its sub-folders; hidden files are passed over.
        part: "train" leaves every tenth subject out, "val" takes only those, None takes all. What
            lies directly in `folder`, a file or a sub-folder, is a subject.

    Raises:
        InputError: if the folder is missing, has no image, or has a single subject to divide.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one with pictures or NIfTI volumes")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(_PICTURES + _VOLUMES)
        and path.is_file()
        and not path.name.startswith(".")
    )
    if not files:
        raise InputError(f"{folder}: no picture or NIfTI volume in it; name a folder with some")
    if part is None:
        return files
    subjects = sorted({path.relative_to(folder).parts[0] for path in files})
    if len(subjects) < 2:
        raise InputError(
            f"{folder}: has one subject, {subjects[0]}, and none to hold out; name a folder of "
            "held-out images with --val_dir"
        )
    held_out = set(subjects[min(_HELD_OUT, len(subjects)) - 1 :: _HELD_OUT])
    return [
        path for path in files if (path.relative_to(folder).parts[0] in held_out) == (part == "val")
    ]


def _picture_slices(path: Path, tile: int | None, pixel_mm: float) -> Iterator[Slice]:
    for grey in _read_picture(path):
        if tile is None:
            yield grey, pixel_mm
            continue
        if grey.shape[0] % tile or grey.shape[1] % tile:
            raise InputError(
                f"{path}: {grey.shape[0]} x {grey.shape[1]} pixels cannot be cut into tiles of "
                f"{tile}; remove it or name the tiles' true size"
            )
        for top in range(0, grey.shape[0], tile):
            for left in range(0, grey.shape[1], tile):
                yield grey[top : top + tile, left : left + tile], pixel_mm


def _read_picture(path: Path) -> list[NDArray[np.float32]]:
    """Read every frame of a picture as grey values in [0, 1]."""
    try:
        with warnings.catch_warnings(), Image.open(path, formats=_FORMATS) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            frames = [
                # Pillow would cut 16-bit grey values at 255.
                np.asarray(frame if deep else frame.convert("L"), dtype=np.float32)
                for frame in ImageSequence.Iterator(picture)
                for deep in [frame.mode.startswith(("I", "F"))]
            ]
            deep = picture.mode.startswith(("I", "F"))
    except Exception as error:  # what Pillow raises on damaged pictures is not documented
        raise InputError(f"{path}: not a readable picture; mend or remove it ({error})") from error
    if deep:
        return [_scaled(frame, path) for frame in frames]
    return [frame / np.float32(255) for frame in frames]


def _volume_slices(path: Path) -> Iterator[Slice]:
    try:
        image = nib.load(path)
        volume = np.asarray(image.dataobj, dtype=np.float32)
        spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)
    except Exception as error:  # nibabel raises many kinds; every one means the same here
        raise InputError(f"{path}: not a readable volume; mend or remove it ({error})") from error
    if volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    if volume.ndim != 3 or 0 in volume.shape:
        raise InputError(
            f"{path}: training needs 3-D volumes, not the shape {volume.shape}; split or remove it"
        )
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(f"{path}: its voxel size {spacing} is not usable; mend its header")
    volume = _scaled(volume, path)
    for axis in range(3):
        in_plane = np.delete(spacing, axis)
        if in_plane.max() / in_plane.min() > _CUBIC:
            continue
        for index in range(volume.shape[axis]):
            yield np.take(volume, index, axis=axis), float(in_plane.mean())


def _scaled(image: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Scale robustly to [0, 1]; a constant image becomes 0, which is no tissue."""
    if not np.isfinite(image).all():
        raise InputError(f"{path}: has NaN or infinite values; mend or remove it")
    low, high = np.percentile(image, [0.5, 99.8])
    if high <= low:
        return np.zeros_like(image)
    scaled: NDArray[np.float32] = np.clip((image - low) / (high - low), 0, 1).astype(np.float32)
    return scaled
