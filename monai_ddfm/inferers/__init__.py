"""The DDFM inferer: conditional sampling of slices and volumes from an unconditional prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.inferers.acceleration import limit_device_memory
from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.ensemble import EnsembleInferer, SourceDraws
from monai_ddfm.inferers.evaluator import FusionEvaluator, collate_cases, prepare_case
from monai_ddfm.inferers.keeping import SliceStore
from monai_ddfm.inferers.presets import (
    PRESETS,
    SPEEDS,
    Preset,
    Speed,
    configure,
    preset_named,
)
from monai_ddfm.inferers.progress import LogProgress, SamplingProgress, TqdmProgress
from monai_ddfm.inferers.sampling import SliceSampler
from monai_ddfm.utils.former_names import renamed

__all__ = [
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
    "SourceDraws",
    "Speed",
    "TqdmProgress",
    "collate_cases",
    "configure",
    "limit_device_memory",
    "prepare_case",
    "preset_named",
]

if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(__name__, {"tailored": "configure"})
