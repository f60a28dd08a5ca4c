"""The DDFM inferer: conditional sampling of slices and volumes from an unconditional prior."""

from __future__ import annotations

from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.ensemble import EnsembleInferer
from monai_ddfm.inferers.presets import PRESETS, Preset, preset_named
from monai_ddfm.inferers.progress import SamplingProgress, TqdmProgress
from monai_ddfm.inferers.sampling import SliceSampler

__all__ = [
    "PRESETS",
    "DDFMInferer",
    "EnsembleInferer",
    "Preset",
    "SamplingProgress",
    "SliceSampler",
    "TqdmProgress",
    "preset_named",
]
