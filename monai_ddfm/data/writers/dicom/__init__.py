"""DICOM objects of a fusion, for PACS, 3D Slicer and other viewers."""

from __future__ import annotations

from monai_ddfm.data.writers.dicom.outputs import SaveFusionDicomd
from monai_ddfm.data.writers.dicom.push import PushTarget, push_dicom

__all__ = ["PushTarget", "SaveFusionDicomd", "push_dicom"]
