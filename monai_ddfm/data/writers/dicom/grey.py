r"""Grey series of the class MR Image: the fusion, and the MRI itself where it must be written.

An MR Image has no rescale in its class, and viewers do not agree on what to do with one. The fused
luminance L in [0, 1] is therefore stored as

    pixel = round(10000 L),

shown from 0 to 10000, and a real world value mapping says what a pixel means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import MRImageStorage

from monai_ddfm.data.writers.dicom.context import Context
from monai_ddfm.data.writers.dicom.images import (
    DERIVED,
    FUSION,
    Stored,
    add_derivation,
    add_pixels,
    add_plane,
    add_window,
    mr_elements,
)
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.values import code, decimal, item

__all__ = [
    "LUMINANCE_STEPS",
    "as_steps",
    "fixed_series",
    "fused_series",
    "mr_values",
    "real_world_values",
]

LUMINANCE_STEPS = 10000
_NO_UNITS = code("1", "UCUM", "no units")


def as_steps(fused: NDArray[Any]) -> NDArray[np.uint16]:
    """Round luminance in [0, 1] to the steps that it is written in."""
    return np.rint(np.clip(fused.astype(np.float64), 0, 1) * LUMINANCE_STEPS).astype(np.uint16)


def fused_series(
    context: Context,
    pixels: NDArray[np.uint16],
    sources: list[list[ImageReference | None]],
) -> Iterator[FileDataset]:
    """Make the grey fusion.

    Args:
        context: of the run.
        pixels: [n, rows, columns], see `as_steps`.
        sources: for every slice, the images it was made from.

    Yields:
        One image for each slice.
    """
    values = Stored(pixels, 1 / LUMINANCE_STEPS)
    about = f"Fused luminance of MR and {context.title}, 0 to 1 in steps of 1/{LUMINANCE_STEPS}"
    mapping = real_world_values(values, "LUMINANCE", "Fused luminance", _NO_UNITS)
    for index in range(len(pixels)):
        image = _mr_image(context, "fused", index)
        add_derivation(image, context, about, [FUSION], context.sources(*sources[index]))
        image.RealWorldValueMappingSequence = [mapping]
        add_window(image, 0, LUMINANCE_STEPS)
        add_pixels(image, pixels[index])
        yield image


def fixed_series(
    context: Context, values: Stored, window: tuple[float, float]
) -> Iterator[FileDataset]:
    """Make a copy of the MRI, for what refers to it where its own images cannot be referred to.

    Args:
        context: of the run.
        values: [n, rows, columns] in its own units.
        window: pixels (not values) shown black and white.

    Yields:
        One image for each slice.
    """
    mapping = mr_values(values)
    for index in range(len(values.pixels)):
        image = _mr_image(context, "fixed", index)
        match = context.grid.matches[index]
        own = context.fixed.references[match] if context.fixed is not None and match >= 0 else None
        add_derivation(
            image, context, "The MRI on the grid of the fusion", [], context.sources(own)
        )
        if not values.is_plain:
            image.RealWorldValueMappingSequence = [mapping]
        add_window(image, *window)
        add_pixels(image, values.pixels[index])
        yield image


def real_world_values(values: Stored, label: str, explanation: str, unit: Dataset) -> Dataset:
    """Return a real world value mapping (PS3.3 C.7.6.16.2.11).

    Args:
        values: their slope and intercept count, and the range of their type.
        label: up to 16 characters.
        explanation: up to 64 characters.
        unit: a code of UCUM.
    """
    kind = np.iinfo(values.pixels.dtype)
    return item(
        LUTLabel=label,
        LUTExplanation=explanation,
        RealWorldValueFirstValueMapped=int(kind.min),
        RealWorldValueLastValueMapped=int(kind.max),
        RealWorldValueSlope=values.slope,
        RealWorldValueIntercept=values.intercept,
        MeasurementUnitsCodeSequence=[unit],
    )


def mr_values(values: Stored) -> Dataset:
    """Return the real world value mapping of MR signal."""
    return real_world_values(values, "MR", "MR signal as it was read", _NO_UNITS)


def _mr_image(context: Context, role: str, index: int) -> FileDataset:
    image = context.new(role, index + 1, sop_class=MRImageStorage, modality="MR")
    image.ImageType = DERIVED
    image.update(mr_elements(context.fixed.header if context.fixed is not None else None))
    add_plane(image, context, index)
    image.SpacingBetweenSlices = decimal(context.grid.step)
    return image
