r"""The registered `moving` in its own units, on the slices of the MRI, as its own series.

=========  ===============================  ======================================================
modality   class                            values
=========  ===============================  ======================================================
CT         CT Image                         HU, whole numbers
PET        Positron Emission Tomography     what the source had: Bq/ml where SUV follow from the
                                            copied header again, else SUVbw, counts or no units
SPECT      Nuclear Medicine Image           counts, one image with a frame for each slice
MR         MR Image                         as read, by a real world value mapping where not whole
in color   Secondary Capture Image          colors
=========  ===============================  ======================================================

A PET in Bq/ml is read as SUVbw, the product of activity and a factor f. Dividing by f gives the
activity back, and it is written so if the copied weight, dose and times give f again: a scanner's
private elements are not copied, and without decay correction every frame has an f of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from monai_ddfm.data.readers.suv import acquired_at, pet_scaling
from monai_ddfm.data.readers.tags import UnreadableError, text
from monai_ddfm.data.writers.dicom.color import as_bytes, color_series
from monai_ddfm.data.writers.dicom.context import Context
from monai_ddfm.data.writers.dicom.grey import mr_values
from monai_ddfm.data.writers.dicom.images import (
    DERIVED,
    EMISSION,
    SPATIAL_RESAMPLING,
    Stored,
    add_derivation,
    add_pixels,
    add_plane,
    add_window,
    mr_elements,
    stored,
)
from monai_ddfm.data.writers.dicom.radiopharmaceutical import nm_elements, pet_elements
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.values import copy, decimal, decimals, update
from monai_ddfm.modalities import Modality

__all__ = ["MovingValues", "moving_series", "moving_values"]

_AIR_HU = -1024.0


@dataclass(frozen=True)
class MovingValues:
    """The registered `moving` as it is written.

    Attributes:
        kept: [n, rows, columns] 16-bit pixels, or [n, rows, columns, 3] 8-bit colors.
        units: DICOM's word: HU, BQML, GML, CNTS, NONE, RGB.
        window: values shown black and white, in these units.
        suv_type: DICOM's word for the kind of SUV, for GML.
        rescaled: whether the class has a rescale; if not, the window is one of pixels, and a real
            world value mapping says what they mean.
    """

    kept: Stored
    units: str
    window: tuple[float, float]
    suv_type: str = "BW"
    rescaled: bool = True

    @property
    def in_color(self) -> bool:
        """Whether these are colors."""
        return self.kept.pixels.ndim == 4


def moving_values(
    context: Context,
    slices: NDArray[Any],
    *,
    units: str,
    factor: float | None,
    window: tuple[float, float],
) -> MovingValues:
    """Choose the units in which `moving` is written.

    Args:
        context: of the run.
        slices: [n, rows, columns] in `units`, or [n, rows, columns, 3] in 0..255.
        units: as the reader names them.
        factor: that made SUVbw of what the source's header calls its units, None if none did.
        window: values shown black and white.
    """
    if slices.ndim == 4:
        colors = np.stack([as_bytes(one / 255.0) for one in slices])
        return MovingValues(Stored(colors), "RGB", (0.0, 1.0))
    if context.modality is Modality.MR:
        kept = stored(slices)
        low, high = ((end - kept.intercept) / kept.slope for end in window)
        return MovingValues(kept, "NONE", (low, high), rescaled=False)
    if context.modality is Modality.CT:
        if units in ("", "HU"):
            kept, units = stored(slices, slope=1.0, lowest=_AIR_HU), "HU"
        else:
            kept, units = stored(slices, signed=True), "US"  # unspecified
        return MovingValues(kept, units, window)
    if units.startswith("SUV"):
        if factor and _gives(context, factor):
            low, high = (float(end) / factor for end in window)
            activity = stored(slices, signed=True, divided_by=factor)
            return MovingValues(activity, "BQML", (low, high))
        kind = units.removeprefix("SUV").upper() or "BW"
        return MovingValues(stored(slices, signed=True), "GML", window, kind)
    names = {"Bq/ml": "BQML", "counts": "CNTS", "counts/s": "CPS"}
    kept = stored(slices, signed=context.modality is Modality.PET)
    return MovingValues(kept, names.get(units, "NONE"), window)


def _gives(context: Context, factor: float | None) -> bool:
    """Whether the header that will be written gives this factor from Bq/ml to SUV again."""
    header = context.moving.header if context.moving is not None else None
    if not factor or text(header, "Units").upper() != "BQML" or context.deidentify:
        return False
    written = Dataset()
    written.update(context.patient)
    written.update(pet_elements(context, "BQML"))
    try:
        scaling = pet_scaling(written, first=acquired_at(written))
    except UnreadableError:
        return False
    return scaling.units == "SUVbw" and math.isclose(scaling.factor, factor, rel_tol=1e-4)


def moving_series(
    context: Context, values: MovingValues, sources: list[list[ImageReference | None]]
) -> Iterator[FileDataset]:
    """Make the series of the registered `moving`.

    Args:
        context: of the run.
        values: from `moving_values`.
        sources: for every slice, the images it was made from.

    Yields:
        One image for each slice, or a single one for SPECT.
    """
    if values.in_color:
        yield from color_series(
            context, "moving_registered", values.kept.pixels, sources, moved=True
        )
    elif context.modality.row.dicom == "nm":
        yield _spect(context, values, sources)
    else:
        make = _MAKERS[context.modality.row.dicom]
        for index, pixels in enumerate(values.kept.pixels):
            image = make(context, index, values)
            add_plane(image, context, index)
            image.SpacingBetweenSlices = decimal(context.grid.step)
            _finish(image, context, values, context.sources(*sources[index], moved=True))
            add_pixels(image, pixels)
            yield image


def _finish(
    image: FileDataset, context: Context, values: MovingValues, sources: list[Dataset]
) -> None:
    about = f"{context.title} in its own units ({values.units}) on the grid of the MRI"
    add_derivation(image, context, about, [SPATIAL_RESAMPLING], sources)
    if values.rescaled:
        image.RescaleSlope = decimal(values.kept.slope)
        image.RescaleIntercept = decimal(values.kept.intercept)
    elif not values.kept.is_plain:
        image.RealWorldValueMappingSequence = [mr_values(values.kept)]
    add_window(image, *values.window)


def _new(context: Context, number: int) -> FileDataset:
    """Return an object of the modality, of the class that DICOM has for it."""
    row = context.modality.row
    sop_class = UID(row.sop_class)
    return context.new("moving_registered", number, sop_class=sop_class, modality=row.codes[0])


def _ct(context: Context, index: int, values: MovingValues) -> FileDataset:
    header = context.moving.header if context.moving is not None else None
    image = _new(context, index + 1)
    image.ImageType = [*DERIVED[:2], "AXIAL"]
    image.RescaleType = values.units
    copy(image, header, "KVP", "AcquisitionNumber", empty=True)
    copy(image, header, "XRayTubeCurrent", "ExposureTime", "ReconstructionDiameter")
    if not context.deidentify:
        copy(image, header, "ConvolutionKernel", "AcquisitionDate", "AcquisitionTime")
    return image


def _mr(context: Context, index: int, values: MovingValues) -> FileDataset:  # noqa: ARG001
    image = _new(context, index + 1)
    image.ImageType = DERIVED
    image.update(mr_elements(context.moving.header if context.moving is not None else None))
    return image


def _pet(context: Context, index: int, values: MovingValues) -> FileDataset:
    image = _new(context, index + 1)
    image.ImageType = EMISSION
    image.update(pet_elements(context, values.units, suv_type=values.suv_type))
    image.NumberOfSlices, image.ImageIndex = len(values.kept.pixels), index + 1
    return image


def _spect(
    context: Context, values: MovingValues, sources: list[list[ImageReference | None]]
) -> FileDataset:
    image = _new(context, 1)
    kept = values.kept
    count, grid = len(kept.pixels), context.grid
    image.ImageType = [*EMISSION, "RECON TOMO", "EMISSION"]
    image.update(nm_elements(context, count))
    update(
        image.DetectorInformationSequence[0],
        {
            "ImagePositionPatient": decimals(grid.positions[0]),
            "ImageOrientationPatient": decimals(grid.orientation),
        },
    )
    image.PixelSpacing = decimals(grid.spacing)
    # The classes of other modalities have the thickness of the MRI's slices; readers of this one
    # take it for the step where they do not know SpacingBetweenSlices.
    image.SliceThickness = image.SpacingBetweenSlices = decimal(grid.step)
    unique = {r: None for references in sources for r in references if r is not None}
    _finish(image, context, values, context.sources(*unique, moved=True))
    if kept.is_plain:
        del image.RescaleSlope, image.RescaleIntercept
    add_pixels(image, kept.pixels)
    return image


_MAKERS = {"ct": _ct, "mr": _mr, "pet": _pet}
"""What makes an image, by the rows of `monai_ddfm.modalities`; "nm" is one image for all slices."""
