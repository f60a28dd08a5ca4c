"""A model observer: what a reader of images would find, measured by the standard reader model.

Lesions are put into the sources (`signals`, `places`), images are seen through channels
(`channels`, `reader`), and a Hotelling observer with internal noise says how well the lesions are
told from their absence (`hotelling`), relative to the better source (`efficiency`). `thresholds`
sets the internal noise beside published human contrast thresholds. It is a model of a reader, not
a reader.
"""

from __future__ import annotations

from monai_ddfm.metrics.observer.channels import (
    CHROMA_WIDTHS,
    LIGHTNESS_WIDTHS,
    Channels,
    channel_outputs,
    templates,
)
from monai_ddfm.metrics.observer.efficiency import SUMMARIES, Detection, Outputs, detect
from monai_ddfm.metrics.observer.hotelling import area_under_curve, detectability, resampled
from monai_ddfm.metrics.observer.places import Place, centers, place_lesions
from monai_ddfm.metrics.observer.reader import INTERNAL_NOISE, Reader
from monai_ddfm.metrics.observer.signals import SIGNALS, Lesion, Shape, lesion_profile, with_signals
from monai_ddfm.metrics.observer.thresholds import (
    INDUCED_RATIO,
    induced_noise,
    jnd_index,
    noise_for_threshold,
    threshold_contrast,
)

__all__ = [
    "CHROMA_WIDTHS",
    "INDUCED_RATIO",
    "INTERNAL_NOISE",
    "LIGHTNESS_WIDTHS",
    "SIGNALS",
    "SUMMARIES",
    "Channels",
    "Detection",
    "Lesion",
    "Outputs",
    "Place",
    "Reader",
    "Shape",
    "area_under_curve",
    "centers",
    "channel_outputs",
    "detect",
    "detectability",
    "induced_noise",
    "jnd_index",
    "lesion_profile",
    "noise_for_threshold",
    "place_lesions",
    "resampled",
    "templates",
    "threshold_contrast",
    "with_signals",
]
