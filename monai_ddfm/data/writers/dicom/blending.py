r"""The lossless overlay: an Advanced Blending Presentation State (PS3.3 A.33.7).

It holds no pixels. It says how a viewer shows the MRI in gray under the registered `moving` in its
colors, both from their own images and with their own windows:

    shown = opacity * moving + (1 - opacity) * MRI,    opacity = 1/2.

Of several moving volumes, DICOM blends all with the MRI to equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_ddfm.data.writers.dicom.context import IMPLEMENTATION_UID, Context
from monai_ddfm.data.writers.dicom.extra import need
from monai_ddfm.data.writers.dicom.images import window_elements
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.values import decimal, item
from monai_ddfm.utils.files import NOTICE

__all__ = ["Layer", "presentation_object"]

_OPACITY = 0.5
_LEVELS = 256


@dataclass(frozen=True)
class Layer:
    """One of the series that are laid over each other.

    Attributes:
        images: its images, all of one series.
        size: rows, columns.
        slope: from pixels to the values of the window.
        intercept: likewise.
        rescale_type: DICOM's word for these values.
        window: values shown black and white; None for images in color.
        colors: [256, 3] in [0, 1] from black to white; None for gray.
    """

    images: Sequence[ImageReference]
    size: tuple[int, int]
    slope: float = 1.0
    intercept: float = 0.0
    rescale_type: str = "US"
    window: tuple[float, float] | None = (0.0, 1.0)
    colors: NDArray[np.float64] | None = None


def presentation_object(context: Context, fixed: Layer, moving: Sequence[Layer]) -> Any:
    """Make the presentation state.

    Args:
        context: of the run.
        fixed: the MRI.
        moving: the registered moving volumes.

    Returns:
        `highdicom.pr.AdvancedBlendingPresentationState`.

    Raises:
        InputError: highdicom is not installed.
    """
    hd = need("highdicom", "to write an overlay as DICOM")
    layers = (fixed, *moving)
    stubs = [[_stub(context, layer, one) for one in _whole(layer.images)] for layer in layers]
    blending = [
        hd.pr.AdvancedBlending(stub, number, **_look(hd, layer))
        for number, (layer, stub) in enumerate(zip(layers, stubs, strict=True), start=1)
    ]
    for number, one in enumerate(blending):
        one.GeometryForDisplay = "TRUE" if number == 0 else "FALSE"
    inputs = [hd.pr.BlendingDisplayInput(number) for number in range(1, len(layers) + 1)]
    display = (
        hd.pr.BlendingDisplay("FOREGROUND", inputs, relative_opacity=_OPACITY)
        if len(layers) == 2
        else hd.pr.BlendingDisplay("EQUAL", inputs)
    )
    made = hd.pr.AdvancedBlendingPresentationState(
        referenced_images=[stub for group in stubs for stub in group],
        blending=blending,
        blending_display=[display],
        series_instance_uid=context.series_uid("presentation"),
        series_number=context.series_number("presentation"),
        sop_instance_uid=context.uid("presentation", 1),
        instance_number=1,
        manufacturer="monai_ddfm",
        manufacturer_model_name="DDFM fusion",
        software_versions=list(context.versions),
        device_serial_number="1",
        content_label="OVERLAY",
        content_description=f"{context.title} over MR; {NOTICE}",
        concept_name=None,
    )
    context.sign(made, "presentation")
    del made.ContentDate, made.ContentTime
    made.PresentationCreationDate, made.PresentationCreationTime = context.date, context.time
    # Also where those look who do not know the blending sequence.
    made.ReferencedInstanceSequence = [
        one.as_item() for layer in layers for one in _whole(layer.images)
    ]
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    return made


def _whole(images: Sequence[ImageReference]) -> list[ImageReference]:
    """Return images, each once: frames of one image count as one."""
    return list({image.uid: image for image in images}.values())


def _stub(context: Context, layer: Layer, image: ImageReference) -> Dataset:
    """Return as much of an image as highdicom asks for."""
    stub = item(
        SOPClassUID=image.sop_class,
        SOPInstanceUID=image.uid,
        SeriesInstanceUID=image.series,
        FrameOfReferenceUID=context.frame_of_reference,
        SamplesPerPixel=3 if layer.window is None else 1,
        Rows=layer.size[0],
        Columns=layer.size[1],
        SpecificCharacterSet="ISO_IR 192",
    )
    stub.update(context.patient)
    stub.StudyInstanceUID = image.study
    return stub


def _look(hd: Any, layer: Layer) -> dict[str, Any]:
    """Return the transformations from pixels to colors."""
    if layer.window is None:
        return {}
    elements = window_elements(*layer.window)
    colors = np.linspace(0, 1, _LEVELS)[:, None] * np.ones(3)
    if layer.colors is not None:
        colors = np.asarray(layer.colors, dtype=np.float64)
    levels = np.rint(np.clip(colors, 0, 1) * 65535).astype(np.uint16)
    tables = [
        hd.PaletteColorLUT(first_mapped_value=0, lut_data=levels[:, k], color=name)
        for k, name in enumerate(("red", "green", "blue"))
    ]
    return {
        "modality_lut_transformation": hd.ModalityLUTTransformation(
            rescale_intercept=decimal(layer.intercept),
            rescale_slope=decimal(layer.slope),
            rescale_type=layer.rescale_type,
        ),
        "voi_lut_transformations": [
            hd.pr.SoftcopyVOILUTTransformation(
                window_center=elements["WindowCenter"],
                window_width=elements["WindowWidth"],
                voi_lut_function=elements["VOILUTFunction"],
            )
        ],
        "palette_color_lut_transformation": hd.PaletteColorLUTTransformation(*tables),
    }
