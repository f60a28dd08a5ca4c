"""The metrics as MONAI metric classes, for evaluators, handlers and bundles.

All take ``y_pred`` = the fused images [B, 1, H, W(, D)] (or RGB [B, 3, ...], judged by luminance)
and ``y`` = the sources [B, 2, H, W(, D)], collect one value per image, and return the mean over all
images from ``aggregate()``. Values that are not defined (NaN) are left out of the mean.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.feature_information import Feature
from monai_ddfm.metrics.hue import hue_error
from monai_ddfm.metrics.information import InformationUnit
from monai_ddfm.metrics.planes import Convention, Planes
from monai_ddfm.metrics.table import (
    METRICS,
    feature_information_metric,
    measure,
    mutual_information_metric,
)

__all__ = [
    "AverageGradientMetric",
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
    "QabfMetric",
    "SCDMetric",
    "SpatialFrequencyMetric",
    "StandardDeviationMetric",
    "VIFMetric",
]


class _PerImageMetric(CumulativeIterationMetric):  # type: ignore[misc]
    """Collects [B, 1] and reduces as MONAI does, except that no value at all gives NaN."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def aggregate(self, reduction: str | None = None) -> Tensor:
        """Reduce what was collected since the last reset.

        Args:
            reduction: one of MONAI's reductions instead of that of the constructor; ``none`` gives
                every value.

        Raises:
            ValueError: if nothing was collected.
        """
        values = self.get_buffer()
        if not isinstance(values, Tensor):
            raise ValueError("the metric has not been called yet, there is nothing to aggregate.")  # noqa: TRY004
        chosen = reduction or self.reduction
        result, count = do_metric_reduction(values, chosen)
        if chosen == "none":
            return torch.as_tensor(result)
        return torch.as_tensor(result).masked_fill(count == 0, math.nan)


class FusionMetric(_PerImageMetric):
    """A metric of the fusion literature.

    Args:
        convention: ``evaluator`` for figures comparable with published ones, or ``mean``; see
            `monai_ddfm.metrics.table`.
        data_range: the value of white if black is 0, or the values of black and white: (-1, 1) for
            images as the network sees them.
        axis: the spatial axis along which a volume is cut; its figure is the mean over slices.
        reduction: how ``aggregate`` reduces the values of all images, as in MONAI.
    """

    name: ClassVar[str]

    def __init__(
        self,
        *,
        convention: Convention = "evaluator",
        data_range: float | tuple[float, float] = 1.0,
        axis: int = -1,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.convention: Convention = convention
        self.data_range = data_range
        self.axis = axis

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return one value per image, [B, 1] in float32."""
        if y is None:
            raise InputError(
                f"{self.name} needs the sources as y, [B, 2, H, W] or [B, 2, H, W, D]."
            )
        if kwargs:
            raise TypeError(f"{self.name} takes no argument {next(iter(kwargs))!r}.")
        planes = Planes.of(
            y_pred, y, convention=self.convention, data_range=self.data_range, axis=self.axis
        )
        return measure(self._of_planes, planes, self.convention).unsqueeze(1).float()

    def _of_planes(self, planes: Planes, convention: Convention) -> Tensor:
        return METRICS[self.name](planes, convention)


class EntropyMetric(FusionMetric):
    """EN, entropy of the gray levels in bits."""

    name = "EN"


class StandardDeviationMetric(FusionMetric):
    """SD, standard deviation in gray levels."""

    name = "SD"


class SpatialFrequencyMetric(FusionMetric):
    """SF, root mean square of the differences of neighbors in gray levels."""

    name = "SF"


class AverageGradientMetric(FusionMetric):
    """AG, mean length of the gradient in gray levels."""

    name = "AG"


class MutualInformationMetric(FusionMetric):
    """MI with both sources.

    Args:
        unit: ``nats`` or ``bits``; by default nats in the convention ``evaluator``, else bits.
        **options: as for `FusionMetric`.
    """

    name = "MI"

    def __init__(self, *, unit: InformationUnit | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.unit = unit

    def _of_planes(self, planes: Planes, convention: Convention) -> Tensor:
        return mutual_information_metric(planes, convention, unit=self.unit)


class NormalizedMutualInformationMetric(FusionMetric):
    """NMI with both sources."""

    name = "NMI"


class CorrelationMetric(FusionMetric):
    """CC, mean correlation with the sources."""

    name = "CC"


class SCDMetric(FusionMetric):
    """SCD, sum of the correlations of differences."""

    name = "SCD"


class VIFMetric(FusionMetric):
    """VIF, visual information fidelity to the sources."""

    name = "VIF"


class QabfMetric(FusionMetric):
    """Qabf, share of the sources' edges that is kept."""

    name = "Qabf"


class FMIMetric(FusionMetric):
    """FMI, mutual information of local features.

    Args:
        feature: ``pixel``, ``gradient`` or ``dct``.
        **options: as for `FusionMetric`.
    """

    name = "FMI"

    def __init__(self, *, feature: Feature = "pixel", **options: Any) -> None:
        super().__init__(**options)
        self.feature: Feature = feature

    def _of_planes(self, planes: Planes, convention: Convention) -> Tensor:
        return feature_information_metric(planes, convention, feature=self.feature)


class FusionSSIMMetric(FusionMetric):
    """SSIM, structural similarity to the sources.

    Args:
        modern: SSIM-255 instead of SSIM: the 7 x 7 window with the range of 255 in either
            convention.
        **options: as for `FusionMetric`.
    """

    name = "SSIM"

    def __init__(self, *, modern: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.modern = modern

    def _of_planes(self, planes: Planes, convention: Convention) -> Tensor:
        return METRICS["SSIM-255" if self.modern else "SSIM"](planes, convention)


class FusionMSSSIMMetric(FusionMetric):
    """MS-SSIM, multi-scale structural similarity to the sources."""

    name = "MS-SSIM"


class FusionPSNRMetric(FusionMetric):
    """PSNR, peak over the mean square difference from the sources, in dB."""

    name = "PSNR"


class HueErrorMetric(_PerImageMetric):
    """Mean absolute hue error in degrees where the color source is bright and saturated.

    ``y_pred`` is the fused RGB image in [0, 1] and ``y`` the color source, both [B, 3, ...].

    Args:
        min_value: V of HSV from which the source counts as bright.
        min_saturation: S of HSV from which the source counts as saturated.
        reduction: how ``aggregate`` reduces the values of all images, as in MONAI.
    """

    def __init__(
        self, *, min_value: float = 0.2, min_saturation: float = 0.2, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.min_value = min_value
        self.min_saturation = min_saturation

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return one value per image, [B, 1] in float32."""
        if y is None:
            raise InputError("the hue error needs the color source as y, [B, 3, ...].")
        if kwargs:
            raise TypeError(f"the hue error takes no argument {next(iter(kwargs))!r}.")
        error = hue_error(y_pred, y, min_value=self.min_value, min_saturation=self.min_saturation)
        return error.unsqueeze(1).float()
