"""The DDFM inferer: conditional sampling of slices and volumes from an unconditional prior."""

from __future__ import annotations

from monai_ddfm.inferers.acceleration import limit_device_memory
from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.ensemble import EnsembleInferer
from monai_ddfm.inferers.evaluator import FusionEvaluator, collate_cases, prepare_case
from monai_ddfm.inferers.keeping import SliceStore
from monai_ddfm.inferers.presets import (
    CHOICES,
    PRESETS,
    SPEEDS,
    Preset,
    Speed,
    preset_named,
    tailored,
)
from monai_ddfm.inferers.progress import LogProgress, SamplingProgress, TqdmProgress
from monai_ddfm.inferers.sampling import SliceSampler

__all__ = [
    "CHOICES",
    "PRESETS",
    "SPEEDS",
    "DDFMInferer",
    "EnsembleInferer",
    "FusionEvaluator",
    "LogProgress",
    "Preset",
    "SamplingProgress",
    "SliceSampler",
    "SliceStore",
    "Speed",
    "TqdmProgress",
    "collate_cases",
    "limit_device_memory",
    "prepare_case",
    "preset_named",
    "tailored",
]
