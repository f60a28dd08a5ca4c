"""The DDFM inferer: conditional sampling of slices and volumes from an unconditional prior."""

from __future__ import annotations

from monai_ddfm.inferers.acceleration import limit_device_memory
from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.ensemble import EnsembleInferer
from monai_ddfm.inferers.keeping import SliceStore
from monai_ddfm.inferers.presets import PRESETS, SPEEDS, Preset, Speed, preset_named
from monai_ddfm.inferers.progress import SamplingProgress, TqdmProgress
from monai_ddfm.inferers.sampling import SliceSampler

__all__ = [
    "PRESETS",
    "SPEEDS",
    "DDFMInferer",
    "EnsembleInferer",
    "Preset",
    "SamplingProgress",
    "SliceSampler",
    "SliceStore",
    "Speed",
    "TqdmProgress",
    "limit_device_memory",
    "preset_named",
]
