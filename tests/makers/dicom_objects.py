"""The DICOM objects of a run of each modality, written once."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pydicom
from dicom_fusions import demo_case
from run_cases import scratch

from monai_ddfm.data.writers.dicom import SaveFusionDicomd

MODALITIES = ("PET", "CT", "SPECT")


@functools.cache
def written(modality: str, form: str = "dicom", tint: bool = False) -> Path:
    folder = scratch() / f"{modality}_{form}_{tint}"
    SaveFusionDicomd(folder, modality=modality)(demo_case(modality, form, bone_tint=tint))
    return folder / "dicom"


def objects(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def every(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in objects(folder)]


def array(case: dict, key: str) -> np.ndarray:
    """[C, depth, rows, columns], as SimpleITK orders them."""
    return np.asarray(case[key].as_tensor()).transpose(0, 3, 2, 1)
