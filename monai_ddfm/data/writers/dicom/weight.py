"""The share of `moving` in the fusion as a Parametric Map: 32-bit floats, nothing rounded."""

from __future__ import annotations

import copy as copying
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_ddfm.data.writers.dicom.context import IMPLEMENTATION_UID, Context, referenced_series
from monai_ddfm.data.writers.dicom.extra import need
from monai_ddfm.data.writers.dicom.images import FUSION, SCHEME, name_scheme, thickness
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.values import item, update
from monai_ddfm.utils.files import NOTICE

__all__ = ["weight_object"]


def weight_object(
    context: Context,
    weight: NDArray[Any],
    sources: list[list[ImageReference | None]],
    images: Sequence[Dataset],
) -> Any:
    """Make the map.

    Args:
        context: of the run.
        weight: [n, rows, columns] share of `moving`, 0 to 1.
        sources: for every slice, the images it was made from.
        images: the fusion's images, from which patient and study are taken.

    Returns:
        `highdicom.pm.ParametricMap`.

    Raises:
        InputError: highdicom is not installed.
    """
    hd = need("highdicom", "to write a weight map as DICOM")
    share = hd.sr.CodedConcept("SHARE", SCHEME, f"Share of {context.title} in the fusion")
    unit = hd.sr.CodedConcept("1", "UCUM", "no units")
    made = hd.pm.ParametricMap(
        source_images=list(images),
        pixel_array=weight.astype(np.float32, copy=False),
        series_instance_uid=context.series_uid("weight"),
        series_number=context.series_number("weight"),
        sop_instance_uid=context.uid("weight", 1),
        instance_number=1,
        manufacturer="monai_ddfm",
        manufacturer_model_name="DDFM fusion",
        software_versions=list(context.versions),
        device_serial_number="1",
        contains_recognizable_visual_features=True,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="WEIGHT",
                lut_explanation=f"Share of {context.title} in the fusion",
                unit=unit,
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
                quantity_definition=share,
            )
        ],
        voi_lut_transformations=[
            hd.VOILUTTransformation(0.5, 1.0, voi_lut_function="LINEAR_EXACT")
        ],
        content_label="WEIGHT",
        content_description=f"0: MR only, 1: {context.title} only; {NOTICE}",
        pixel_measures=hd.PixelMeasuresSequence(
            context.grid.spacing, thickness(context), context.grid.step
        ),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", context.grid.orientation),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", position.tolist())
            for position in context.grid.positions
        ],
    )
    context.sign(made, "weight")
    _refer(made, context, sources)
    dimensions = context.uid("weight", "dimensions")
    for one in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        one.DimensionOrganizationUID = dimensions
    update(made, {"ImageComments": NOTICE, "PatientOrientation": context.grid.letters})
    name_scheme(made, [FUSION])
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    return made


def _refer(made: Any, context: Context, sources: list[list[ImageReference | None]]) -> None:
    """Refer to what the fusion was made from instead of to the fusion."""
    for group in made.PerFrameFunctionalGroupsSequence:
        # highdicom puts the frames into an order of its own.
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        index = int(np.linalg.norm(context.grid.positions - place, axis=1).argmin())
        items = context.sources(*sources[index])
        group.DerivationImageSequence = [
            item(
                DerivationCodeSequence=[copying.deepcopy(FUSION)],
                DerivationDescription=f"{context.derivation}; {NOTICE}"[:1024],
                SourceImageSequence=items,
            )
        ]
    for name in ("ReferencedSeriesSequence", "StudiesContainingOtherReferencedInstancesSequence"):
        made.pop(name, None)
    flat = [reference for references in sources for reference in references]
    update(made, referenced_series(flat, str(made.StudyInstanceUID)))
