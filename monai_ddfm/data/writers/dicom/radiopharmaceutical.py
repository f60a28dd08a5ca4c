"""What PET and NM objects say about tracer, detector and counting, copied from the source.

Everything from which an SUV is computed is copied: weight, dose, half-life and the times. Code
sequences are rebuilt from their code values, because what else stands in them is not checked.
"""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from monai_ddfm.data.readers.suv import acquired_at
from monai_ddfm.data.readers.tags import item as first_item
from monai_ddfm.data.readers.tags import text
from monai_ddfm.data.writers.dicom.context import Context
from monai_ddfm.data.writers.dicom.values import copied_code, copy, item, update

__all__ = ["nm_elements", "pet_elements"]

_SLICE_VECTOR = 0x00540080
_CORRECTIONS = ("NONE", "START", "ADMIN")
_SOURCES = ("EMISSION", "TRANSMISSION")
_SERIES_TYPES = ("STATIC", "DYNAMIC", "GATED", "WHOLE BODY")
_COLLIMATORS = ("PARA", "PINH", "FANB", "CONE", "SLNT", "ASTG", "DIVG", "NONE", "UNKN")


def pet_elements(context: Context, units: str, *, suv_type: str = "BW") -> Dataset:
    """Return the elements of the PET Series, Isotope and Image modules.

    Args:
        context: of the run.
        units: DICOM's word for those of the values that are written.
        suv_type: DICOM's word for the kind of SUV, where they are such.
    """
    header = _earliest(context)
    found = Dataset()
    found.Units = units
    if units == "GML":
        found.SUVType = suv_type
    found.CountsSource = _word(header, "CountsSource", _SOURCES, "EMISSION")
    found.SeriesType = [_word(header, "SeriesType", _SERIES_TYPES, "STATIC"), "IMAGE"]
    found.DecayCorrection = _word(header, "DecayCorrection", _CORRECTIONS, "NONE")
    found.CollimatorType = _word(header, "CollimatorType", _COLLIMATORS, "NONE")
    copy(
        found, header, "CorrectedImage", "ActualFrameDuration", "ReconstructionDiameter", empty=True
    )
    copy(found, header, "FrameReferenceTime", "DoseCalibrationFactor")
    # Both are required; where the source does not say them, the values make no correction.
    if "FrameReferenceTime" not in found:
        found.FrameReferenceTime = 0
    if found.DecayCorrection != "NONE":
        found.DecayFactor = 1
        copy(found, header, "DecayFactor")
    found.RadiopharmaceuticalInformationSequence = _injection(context, header)
    _when(found, context, header)
    update(found, _patient_orientation(None if context.deidentify else header))
    return found


def nm_elements(context: Context, count: int) -> Dataset:
    """Return the elements of the NM modules for reconstructed slices.

    Args:
        context: of the run.
        count: the number of slices.
    """
    header = context.moving.header if context.moving is not None else None
    found = Dataset()
    found.FrameIncrementPointer = _SLICE_VECTOR
    found.NumberOfFrames = found.NumberOfSlices = count
    found.SliceVector = list(range(1, count + 1))
    found.NumberOfEnergyWindows = found.NumberOfDetectors = found.NumberOfRotations = 1
    window = Dataset()
    limits = first_item(header, "EnergyWindowInformationSequence", "EnergyWindowRangeSequence")
    copy(window, limits, "EnergyWindowLowerLimit", "EnergyWindowUpperLimit")
    energy = item(EnergyWindowRangeSequence=[window]) if len(window) else Dataset()
    found.EnergyWindowInformationSequence = [energy]
    found.RotationInformationSequence = _rotations(header)
    detector = first_item(header, "DetectorInformationSequence")
    found.DetectorInformationSequence = [
        item(CollimatorType=_word(detector, "CollimatorType", _COLLIMATORS, "UNKN"))
    ]
    copy(found, header, "CountsAccumulated", empty=True)
    found.RadiopharmaceuticalInformationSequence = _injection(context, header)
    _when(found, context, header)
    update(found, _patient_orientation(None if context.deidentify else header))
    return found


def _earliest(context: Context) -> Dataset | None:
    """Return the header of the image that was acquired first: decay is counted from there."""
    if context.moving is None:
        return None
    headers = [frame.file.header for frame in context.moving.frames]
    known = [(when, k) for k, one in enumerate(headers) if (when := acquired_at(one)) is not None]
    return headers[min(known)[1]] if known else headers[0]


def _word(header: Dataset | None, keyword: str, known: tuple[str, ...], default: str) -> str:
    found = text(header, keyword).upper()
    return found if found in known else default


def _when(found: Dataset, context: Context, header: Dataset | None) -> None:
    """Copy the times that decay is counted from; the series' date is not that of the fusion."""
    found.AcquisitionDate = found.AcquisitionTime = None
    if context.deidentify:
        return
    copy(found, header, "AcquisitionDate", "AcquisitionTime", empty=True)
    copy(found, header, "SeriesDate", "SeriesTime", "PatientWeight", "PatientSize", "PatientAge")


def _rotations(header: Dataset | None) -> list[Dataset]:
    source = first_item(header, "RotationInformationSequence")
    names = (
        "StartAngle",
        "AngularStep",
        "RotationDirection",
        "ScanArc",
        "ActualFrameDuration",
        "RadialPosition",
        "NumberOfFramesInRotation",
    )
    rotation = Dataset()
    copy(rotation, source, *names)
    return [rotation] if all(name in rotation for name in names) else []


def _injection(context: Context, header: Dataset | None) -> list[Dataset]:
    """Return the RadiopharmaceuticalInformationSequence, empty where nothing may be said."""
    source = first_item(header, "RadiopharmaceuticalInformationSequence")
    if source is None or context.deidentify:
        return []
    injection = Dataset()
    copy(
        injection,
        source,
        "Radiopharmaceutical",
        "RadiopharmaceuticalStartTime",
        "RadiopharmaceuticalStartDateTime",
        "RadiopharmaceuticalStopTime",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadionuclidePositronFraction",
        "RadiopharmaceuticalVolume",
    )
    nuclide = copied_code(first_item(source, "RadionuclideCodeSequence"))
    injection.RadionuclideCodeSequence = [] if nuclide is None else [nuclide]
    agent = copied_code(first_item(source, "RadiopharmaceuticalCodeSequence"))
    if agent is not None:
        injection.RadiopharmaceuticalCodeSequence = [agent]
    return [injection]


def _patient_orientation(header: Dataset | None) -> dict[str, Any]:
    """Return how the patient lay, as codes; empty where the source has none."""
    elements: dict[str, Any] = {}
    for keyword, modifier in (
        ("PatientOrientationCodeSequence", "PatientOrientationModifierCodeSequence"),
        ("PatientGantryRelationshipCodeSequence", ""),
    ):
        source = first_item(header, keyword)
        found = copied_code(source)
        if found is not None and modifier:
            more = copied_code(first_item(source, modifier))
            setattr(found, modifier, [] if more is None else [more])
        elements[keyword] = [] if found is None else [found]
    return elements
