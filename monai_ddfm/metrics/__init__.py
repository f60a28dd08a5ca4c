"""Fusion metrics: pure functions on gray levels, a table of all by name, MONAI metric classes.

``evaluate_fusion(fused, fixed, moving)`` measures a batch of images or volumes; the classes do the
same inside MONAI's evaluators. Both know the two conventions of the literature, see
`monai_ddfm.metrics.table`.
"""

from monai_ddfm.metrics.classes import (
    AverageGradientMetric,
    CorrelationMetric,
    EntropyMetric,
    FMIMetric,
    FusionMetric,
    FusionMSSSIMMetric,
    FusionPSNRMetric,
    FusionSSIMMetric,
    HueErrorMetric,
    MutualInformationMetric,
    NormalizedMutualInformationMetric,
    QabfMetric,
    SCDMetric,
    SpatialFrequencyMetric,
    StandardDeviationMetric,
    VIFMetric,
)
from monai_ddfm.metrics.contrast import average_gradient, spatial_frequency, standard_deviation
from monai_ddfm.metrics.correlation import (
    correlation,
    peak_signal_to_noise_ratio,
    sum_of_correlations_of_differences,
)
from monai_ddfm.metrics.feature_information import feature_mutual_information
from monai_ddfm.metrics.flicker import flicker, flicker_share, slice_change
from monai_ddfm.metrics.hue import hue_angle, hue_error
from monai_ddfm.metrics.information import (
    entropy,
    mutual_information,
    normalized_mutual_information,
)
from monai_ddfm.metrics.planes import Convention, Planes
from monai_ddfm.metrics.qabf import edge_preservation
from monai_ddfm.metrics.ssim import multiscale_structural_similarity, structural_similarity
from monai_ddfm.metrics.table import METRICS, PUBLISHED_METRICS, evaluate_fusion
from monai_ddfm.metrics.vif import visual_information_fidelity

__all__ = [
    "METRICS",
    "PUBLISHED_METRICS",
    "AverageGradientMetric",
    "Convention",
    "CorrelationMetric",
    "EntropyMetric",
    "FMIMetric",
    "FusionMSSSIMMetric",
    "FusionMetric",
    "FusionPSNRMetric",
    "FusionSSIMMetric",
    "HueErrorMetric",
    "MutualInformationMetric",
    "NormalizedMutualInformationMetric",
    "Planes",
    "QabfMetric",
    "SCDMetric",
    "SpatialFrequencyMetric",
    "StandardDeviationMetric",
    "VIFMetric",
    "average_gradient",
    "correlation",
    "edge_preservation",
    "entropy",
    "evaluate_fusion",
    "feature_mutual_information",
    "flicker",
    "flicker_share",
    "hue_angle",
    "hue_error",
    "multiscale_structural_similarity",
    "mutual_information",
    "normalized_mutual_information",
    "peak_signal_to_noise_ratio",
    "slice_change",
    "spatial_frequency",
    "standard_deviation",
    "structural_similarity",
    "sum_of_correlations_of_differences",
    "visual_information_fidelity",
]
