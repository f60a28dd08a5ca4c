"""What the modules of MR, CT, PET and NM objects ask for beyond geometry and pixels (PS3.3 C.8)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

__all__ = ["DATE", "INJECTED", "SCANNED", "WRITTEN", "modality_tags", "update"]

DATE, INJECTED, SCANNED, WRITTEN = "20240115", "090000", "100000", "101000"

_FRAME_S = 600.0
_F18_HALF_LIFE_S, _TC99M_HALF_LIFE_S = 6586.2, 21624.12
_SLICE_VECTOR = 0x00540080


def update(dataset: Dataset, tags: Mapping[str, Any]) -> None:
    """Set attributes of `dataset` by keyword."""
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)


def modality_tags(modality: str) -> dict[str, Any]:
    """Return the attributes of one modality by keyword; sequences are new at every call.

    Args:
        modality: MR, CT, PET or SPECT.
    """
    return {"MR": _mr, "CT": _ct, "PET": _pet, "SPECT": _nm}[modality]()


def _item(**tags: Any) -> Dataset:
    dataset = Dataset()
    update(dataset, tags)
    return dataset


def _code(value: str, meaning: str, **more: Any) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning, **more)


def _mr() -> dict[str, Any]:
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "PatientPosition": "HFS",
        "ScanningSequence": ["GR", "IR"],
        "SequenceVariant": ["SP", "MP"],
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "RepetitionTime": 2300.0,
        "EchoTime": 2.98,
        "InversionTime": 900.0,
        "FlipAngle": 9.0,
        "EchoTrainLength": 1,
        "MagneticFieldStrength": 3.0,
    }


def _ct() -> dict[str, Any]:
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientPosition": "HFS",
        "KVP": 120.0,
        "RescaleType": "HU",
        "WindowCenter": 40.0,
        "WindowWidth": 80.0,
    }


def _patient_orientation() -> dict[str, Any]:
    supine = _code("40199007", "supine")
    recumbent = _code("102538003", "recumbent", PatientOrientationModifierCodeSequence=[supine])
    return {
        "PatientOrientationCodeSequence": [recumbent],
        "PatientGantryRelationshipCodeSequence": [_code("102540008", "headfirst")],
    }


def _injection(radionuclide: Dataset, agent: Dataset, **tags: Any) -> Dataset:
    return _item(
        RadionuclideCodeSequence=[radionuclide],
        RadiopharmaceuticalCodeSequence=[agent],
        RadiopharmaceuticalStartTime=INJECTED,
        **tags,
    )


def _pet() -> dict[str, Any]:
    decay = math.log(2) * _FRAME_S / _F18_HALF_LIFE_S
    factor = decay / (1 - math.exp(-decay))
    injection = _injection(
        _code("77004003", "^18^Fluorine"),
        _code("35321007", "Fluorodeoxyglucose F^18^"),
        Radiopharmaceutical="Fluorodeoxyglucose",
        RadiopharmaceuticalStartDateTime=DATE + INJECTED,
        RadionuclideTotalDose=200e6,
        RadionuclideHalfLife=_F18_HALF_LIFE_S,
        RadionuclidePositronFraction=0.967,
    )
    return {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "SeriesType": ["STATIC", "IMAGE"],
        "CorrectedImage": ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"],
        "DecayCorrection": "START",
        "RandomsCorrectionMethod": "DLYD",
        "AttenuationCorrectionMethod": "simulated",
        "ScatterCorrectionMethod": "simulated",
        "ReconstructionMethod": "simulated",
        "CollimatorType": "NONE",
        "RadiopharmaceuticalInformationSequence": [injection],
        # The moment at which the activity equals its mean over the frame, in ms from the start.
        "FrameReferenceTime": round(1000 * math.log(factor) * _F18_HALF_LIFE_S / math.log(2), 3),
        "ActualFrameDuration": round(1000 * _FRAME_S),
        "DecayFactor": round(factor, 9),
        "DoseCalibrationFactor": 1.0,
        **_patient_orientation(),
    }


def _nm() -> dict[str, Any]:
    injection = _injection(
        _code("72454006", "^99m^Technetium"),
        _code("77313009", "Technetium Tc^99m^ exametazime"),
        Radiopharmaceutical="Exametazime",
        RadionuclideTotalDose=740.0,
    )
    window = _item(
        EnergyWindowName="Tc-99m",
        EnergyWindowRangeSequence=[
            _item(EnergyWindowLowerLimit=126.0, EnergyWindowUpperLimit=154.0)
        ],
    )
    rotation = _item(
        StartAngle=0.0,
        AngularStep=3.0,
        RotationDirection="CW",
        ScanArc=360.0,
        ActualFrameDuration=20000,
        RadialPosition=140.0,
        NumberOfFramesInRotation=120,
    )
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        "FrameIncrementPointer": _SLICE_VECTOR,
        "NumberOfEnergyWindows": 1,
        "NumberOfDetectors": 1,
        "NumberOfRotations": 1,
        "RotationInformationSequence": [rotation],
        "EnergyWindowInformationSequence": [window],
        "RadiopharmaceuticalInformationSequence": [injection],
        "DetectorInformationSequence": [_item(CollimatorType="PARA", CollimatorGridName="LEHR")],
        "CountsAccumulated": "",
        "ConvolutionKernel": "Gauss 6 mm",
        **_patient_orientation(),
    }
