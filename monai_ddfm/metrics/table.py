"""Every figure of the fusion literature by its name, in either convention.

| name | ``evaluator`` | ``mean`` |
| --- | --- | --- |
| EN, SD, SF, AG | of the result, 8 bit | of the result |
| MI | nats, sum over the sources | bits, mean over the sources |
| NMI, VIF, MS-SSIM | sum over the sources | mean over the sources |
| SSIM | 7 x 7, range of 2, sum over the sources | 11 x 11 Gaussian, range of 255, mean |
| SSIM-255 | 7 x 7, range of 255, sum over the sources | the same, mean |
| CC, FMI | mean over the sources | mean over the sources |
| SCD | sum, by its definition | sum, by its definition |
| Qabf | by edge strength over the sources | by edge strength over the sources |
| PSNR | peak is the result's largest value | peak is 255 |

NMI, FMI and MS-SSIM do not occur in the evaluator itself and follow its rule for the others.
SSIM-255 is what the evaluator gives since scikit-image 0.20, which refuses to guess the range of
float images: newer papers print this one, older ones SSIM, and the two must not be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.contrast import average_gradient, spatial_frequency, standard_deviation
from monai_ddfm.metrics.correlation import (
    correlation,
    peak_signal_to_noise_ratio,
    sum_of_correlations_of_differences,
)
from monai_ddfm.metrics.feature_information import Feature, feature_mutual_information
from monai_ddfm.metrics.information import (
    InformationUnit,
    entropy,
    mutual_information,
    normalized_mutual_information,
)
from monai_ddfm.metrics.planes import WHITE, Convention, Planes
from monai_ddfm.metrics.qabf import edge_preservation
from monai_ddfm.metrics.ssim import multiscale_structural_similarity, structural_similarity
from monai_ddfm.metrics.vif import visual_information_fidelity

__all__ = ["METRICS", "PUBLISHED_METRICS", "evaluate_fusion", "measure"]

PlaneMetric = Callable[[Planes, Convention], Tensor]

# The range that scikit-image before 0.20 assumed for float images.
_EVALUATOR_SSIM_RANGE: Final = 2.0
# Slices computed together: the maps of so many fit into memory, and keep a GPU busy.
_SLICES_AT_ONCE: Final = 8


def _over_sources(
    planes: Planes, convention: Convention, pair: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Combine a figure of source and fused image over the two sources."""
    total = pair(planes.fixed, planes.fused) + pair(planes.moving, planes.fused)
    return total if convention == "evaluator" else total / 2


def mutual_information_metric(
    planes: Planes, convention: Convention, *, unit: InformationUnit | None = None
) -> Tensor:
    """MI in the given unit, or in that of the convention."""
    chosen: InformationUnit = unit or ("nats" if convention == "evaluator" else "bits")
    return _over_sources(planes, convention, partial(mutual_information, unit=chosen))


def feature_information_metric(
    planes: Planes, convention: Convention, *, feature: Feature = "pixel"
) -> Tensor:
    """FMI of the given feature, the same in both conventions."""
    del convention
    return feature_mutual_information(planes.fused, planes.fixed, planes.moving, feature=feature)


def _nmi(planes: Planes, convention: Convention) -> Tensor:
    return _over_sources(planes, convention, normalized_mutual_information)


def _cc(planes: Planes, convention: Convention) -> Tensor:
    del convention
    return _over_sources(planes, "mean", correlation)


def _scd(planes: Planes, convention: Convention) -> Tensor:
    del convention
    return sum_of_correlations_of_differences(planes.fused, planes.fixed, planes.moving)


def _vif(planes: Planes, convention: Convention) -> Tensor:
    return _over_sources(planes, convention, visual_information_fidelity)


def _qabf(planes: Planes, convention: Convention) -> Tensor:
    return edge_preservation(
        planes.fused,
        planes.fixed,
        planes.moving,
        equal_as_evaluator=convention == "evaluator",
    )


def _ssim(planes: Planes, convention: Convention) -> Tensor:
    if convention == "mean":
        return _over_sources(planes, convention, structural_similarity)
    return _uniform_ssim(planes, convention, data_range=_EVALUATOR_SSIM_RANGE)


def _uniform_ssim(planes: Planes, convention: Convention, *, data_range: float = WHITE) -> Tensor:
    pair = partial(structural_similarity, data_range=data_range, window="uniform")
    return _over_sources(planes, convention, pair)


def _ms_ssim(planes: Planes, convention: Convention) -> Tensor:
    return _over_sources(planes, convention, multiscale_structural_similarity)


def _psnr(planes: Planes, convention: Convention) -> Tensor:
    peak = planes.fused.flatten(1).amax(dim=1) if convention == "evaluator" else WHITE
    return peak_signal_to_noise_ratio(planes.fused, planes.fixed, planes.moving, peak=peak)


def _of_fused(metric: Callable[[Tensor], Tensor]) -> PlaneMetric:
    def of_fused(planes: Planes, convention: Convention) -> Tensor:
        del convention
        return metric(planes.fused)

    return of_fused


METRICS: Final[Mapping[str, PlaneMetric]] = {
    "EN": _of_fused(entropy),
    "SD": _of_fused(standard_deviation),
    "SF": _of_fused(spatial_frequency),
    "AG": _of_fused(average_gradient),
    "MI": mutual_information_metric,
    "NMI": _nmi,
    "CC": _cc,
    "SCD": _scd,
    "VIF": _vif,
    "Qabf": _qabf,
    "FMI": feature_information_metric,
    "SSIM": _ssim,
    "SSIM-255": _uniform_ssim,
    "MS-SSIM": _ms_ssim,
    "PSNR": _psnr,
}
"""All metrics by name; larger is better for each, except that noise raises EN, SD, SF and AG."""

PUBLISHED_METRICS: Final = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")
"""The eight figures that recent papers on medical fusion print."""


def evaluate_fusion(
    fused: Tensor,
    fixed: Tensor | None = None,
    moving: Tensor | None = None,
    *,
    sources: Tensor | None = None,
    metrics: Sequence[str] = tuple(METRICS),
    convention: Convention = "evaluator",
    data_range: float | tuple[float, float] = 1.0,
    axis: int = -1,
) -> dict[str, Tensor]:
    """Measure a batch of fused images.

    The sources are given as two, ``evaluate_fusion(fused, fixed, moving)``, or as the network is
    given them, ``evaluate_fusion(fused, sources)``.

    Args:
        fused: [B, 1, H, W] or [B, 1, H, W, D]; with three channels RGB, judged by luminance.
        fixed: [B, 1, H, W] or [B, 1, H, W, D]; without `moving` both sources, as `sources`.
        moving: of the shape and in the units of `fixed`.
        sources: [B, 2, H, W] or [B, 2, H, W, D], fixed and moving in the same units.
        metrics: names from `METRICS`.
        convention: ``evaluator`` for figures comparable with published ones, or ``mean``.
        data_range: the value of white if black is 0, or the values of black and white.
        axis: the spatial axis along which a volume is cut; its figures are means over slices.

    Returns:
        A tensor [B] for each name, on the device of `fused`.

    Raises:
        InputError: if a name is unknown, if the sources are missing or given twice, or for what
            `Planes.of` refuses.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"metric {unknown[0]!r} is unknown; use {', '.join(METRICS)}.")
    pair = _pair_of(fixed, moving, sources)
    planes = Planes.of(fused, pair, convention=convention, data_range=data_range, axis=axis)
    return {name: measure(METRICS[name], planes, convention) for name in metrics}


def _pair_of(fixed: Tensor | None, moving: Tensor | None, sources: Tensor | None) -> Tensor:
    """Return both sources as channels, however they were given."""
    if moving is None:
        if (fixed is None) == (sources is None):
            raise InputError("give the sources as fixed and moving, or both in one tensor.")
        return torch.as_tensor(fixed if sources is None else sources)
    if fixed is None or sources is not None:
        raise InputError("moving goes with fixed; give both, or both in one tensor.")
    if fixed.shape != moving.shape or fixed.ndim < 2 or fixed.shape[1] != 1:
        raise InputError(
            "fixed and moving must have one channel, [B, 1, H, W] or [B, 1, H, W, D], and one "
            f"shape, not {list(fixed.shape)} and {list(moving.shape)}."
        )
    # Metadata and history of a MetaTensor have no place in a figure.
    return torch.cat([image.as_subclass(Tensor) for image in (fixed, moving)], dim=1)


def measure(metric: PlaneMetric, planes: Planes, convention: Convention) -> Tensor:
    """Compute one metric, a few slices at a time, and average over the slices of each image.

    Returns:
        [B].
    """
    values = [metric(part, convention) for part in planes.chunks(_SLICES_AT_ONCE)]
    return planes.mean_over_slices(torch.cat(values))
