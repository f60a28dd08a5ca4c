"""The figures of one result: the metrics, the bound, and how far noise moves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.data.writers import excess_over_sources
from monai_ddfm.likelihoods.baselines import stretch_contrast
from monai_ddfm.metrics import (
    Convention,
    evaluate_fusion,
    flicker,
    hue_error,
    structural_similarity,
)
from monai_ddfm.metrics.planes import WHITE
from monai_ddfm.training.baselines import psnr_inside
from monai_ddfm.transforms.pictures import ColorizePictured
from monai_ddfm.visualize.color_styles import COLOR_STYLES

__all__ = ["ROBUSTNESS", "colored", "measure_case", "measure_robustness"]

ROBUSTNESS = ("PSNR", "SSIM")
"""How near fused(noisy) is to fused(clean), inside the head."""


def measure_case(
    case: Case,
    fused: Tensor,
    *,
    metrics: Sequence[str],
    convention: Convention = "evaluator",
    stretch: bool = False,
) -> dict[str, float]:
    """Measure one result.

    Args:
        case: the sources.
        fused: luminance [1, 1, H, W(, D)], nominally in [0, 1].
        metrics: names from `monai_ddfm.metrics.METRICS`.
        convention: of the metrics.
        stretch: map the least value to black and the largest to white first.

    Returns:
        The metrics by name; "excess", the largest excess over the sources on [0, 1]; "flicker" in
        gray levels for volumes; "hue" in degrees where a source is in color.
    """
    shown = stretch_contrast(fused) if stretch else fused.clamp(0, 1)
    values = evaluate_fusion(shown, case.image, metrics=metrics, convention=convention)
    figures = {name: float(value) for name, value in values.items()}
    figures["excess"] = float(excess_over_sources(fused[0], case.image[0])["largest"])
    if fused.ndim == 5 and fused.shape[-1] > 1:
        figures["flicker"] = float(flicker(shown, case.image, mask=case.head()))
    in_color = colored(case, shown)[None]
    source = case.colored_source()
    if source is not None and in_color.shape[1] == 3:
        figures["hue"] = float(hue_error(in_color, source[None]))
    return figures


def measure_robustness(case: Case, clean: Tensor, noisy: Tensor) -> dict[str, float]:
    """Measure how near fused(noisy) is to fused(clean), inside the head.

    Args:
        case: the sources without noise.
        clean: [1, 1, H, W(, D)], nominally in [0, 1].
        noisy: likewise, of the sources with noise.

    Returns:
        "PSNR" in dB of a peak of 255 over all of the head, and "SSIM" (11 x 11 Gaussian windows,
        range 255).
    """
    mask = case.head()
    flat_mask = mask.reshape(1, mask.shape[0], -1).numpy()
    flat = [image.clamp(0, 1)[0, 0].reshape(1, len(mask), -1).numpy() for image in (noisy, clean)]
    first, second = ((2 * image - 1).astype(np.float32) for image in flat)
    psnr = psnr_inside(first, second, flat_mask)
    slices = [_slices(image.clamp(0, 1)[0, 0] * WHITE).double() for image in (noisy, clean)]
    masks = _slices(mask)
    similar = structural_similarity(*slices, mask=masks)
    weight = masks.flatten(1).sum(1)
    filled = ~similar.isnan()
    mean = (similar[filled] * weight[filled]).sum() / weight[filled].sum()
    return {"PSNR": float(psnr[0]), "SSIM": float(mean)}


def colored(case: Case, fused: Tensor, *, style: str = COLOR_STYLES[0]) -> Tensor:
    """Return a result as it is shown: RGB [3, H, W(, D)] if a source is in color, else one channel.

    Args:
        case: the sources.
        fused: luminance [1, 1, H, W(, D)], nominally in [0, 1].
        style: of the color of PET and SPECT, a name in
            `monai_ddfm.visualize.color_styles.COLOR_STYLES`.
    """
    shown: dict[Any, Any] = {
        "fused": fused[0].clamp(0, 1),
        "fixed": case.fixed,
        "moving": case.moving,
    }
    result = ColorizePictured(case.modality, color_style=style)(shown)
    rgb: Tensor = result.get("fused_rgb", result["fused"])
    return rgb.as_subclass(Tensor)


def _slices(image: Tensor) -> Tensor:
    """Cut [H, W, D] into [D, H, W]; [H, W] becomes [1, H, W]."""
    return image[None] if image.ndim == 2 else torch.movedim(image, -1, 0)
