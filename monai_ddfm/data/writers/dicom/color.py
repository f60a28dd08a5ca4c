"""Color series of the class Secondary Capture Image, one image for each slice, placed in space.

The class does not ask for a place in space, but where it is given viewers show and cut such a
series like any other. ImagePositionPatient and its companions are an extension of the class, as
PS3.4 B.3.1.4 allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from monai_ddfm.data.writers.dicom.context import Context
from monai_ddfm.data.writers.dicom.images import (
    DERIVED,
    FUSION,
    SPATIAL_RESAMPLING,
    add_derivation,
    add_pixels,
    add_plane,
)
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.values import decimal

__all__ = ["as_bytes", "color_series"]


def as_bytes(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """Round colors in [0, 1] to 8 bits."""
    return np.rint(np.clip(colors.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def color_series(
    context: Context,
    role: str,
    pixels: NDArray[np.uint8],
    sources: list[list[ImageReference | None]],
    *,
    moved: bool = False,
) -> Iterator[FileDataset]:
    """Make a color series.

    Args:
        context: of the run.
        role: ``"fused_rgb"``, or ``"moving_registered"`` for a `moving` that is in color itself.
        pixels: [n, rows, columns, 3], see `as_bytes`.
        sources: for every slice, the images it was made from.
        moved: whether the sources have another grid.

    Yields:
        One image for each slice.
    """
    fusion = role == "fused_rgb"
    about = (
        f"Fusion of MR and {context.title} with the colors of the latter"
        if fusion
        else f"{context.title} in color, resampled on the grid of the MRI"
    )
    for index in range(len(pixels)):
        image = context.new(role, index + 1, sop_class=SecondaryCaptureImageStorage, modality="OT")
        image.ImageType = DERIVED
        image.ConversionType = "WSD"
        image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = context.date, context.time
        add_plane(image, context, index)
        image.SpacingBetweenSlices = decimal(context.grid.step)
        add_derivation(
            image,
            context,
            about,
            [FUSION if fusion else SPATIAL_RESAMPLING],
            context.sources(*sources[index], moved=moved),
        )
        add_pixels(image, pixels[index])
        yield image
