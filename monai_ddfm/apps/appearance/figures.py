r"""How a fusion reads: what it keeps of the contrast and the brightness of its sources.

With the luminance f of the fusion, v of the MRI and i of the other source, each from 0 to 1, and
:math:`\bar f_R` the mean over a region R (`monai_ddfm.apps.appearance.heads`),

.. math::
    \text{gray-white} &= \frac{\bar f_\text{white} - \bar f_\text{gray}}
                              {\bar v_\text{white} - \bar v_\text{gray}} , \\
    \text{ventricles} &= \frac{|\bar f_\text{ventricles} - \bar f_\text{white}|}
        {\max(|\bar v_\text{ventricles} - \bar v_\text{white}|,
              |\bar i_\text{ventricles} - \bar i_\text{white}|)} , \\
    \text{bone} &= \bar f_\text{bone} / \bar i_\text{bone} , \qquad
    \text{hot lesion} = \bar f_\text{hot} / \bar i_\text{hot} , \\
    \text{cold lesion} &= \frac{\bar f_\text{beside} - \bar f_\text{cold}}
                               {\bar i_\text{beside} - \bar i_\text{cold}} .

1 is as in the source, 0 is gone, and gray-white is negative where gray matter is the brighter one.
Bone is asked of a CT, the lesions of PET and SPECT, which alone show the cold one: an asymmetry of
24 mm. A figure of a region without voxels is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_ddfm.apps.appearance.heads import Head
from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.figures import measure_robustness
from monai_ddfm.data.writers import excess_over_sources
from monai_ddfm.metrics import flicker

__all__ = ["measure_appearance", "measure_noise"]


def measure_appearance(head: Head, fused: Tensor) -> dict[str, float]:
    """Measure how one result reads.

    Args:
        head: the sources and the regions.
        fused: luminance [1, 1, H, W, D], nominally in [0, 1].

    Returns:
        The figures above by name, and "excess", the largest excess over the sources on [0, 1].
    """
    image = head.case.image
    means = [
        _means(one, head.regions) for one in (fused.clamp(0, 1)[0, 0], image[0, 0], image[0, 1])
    ]
    f, v, i = means
    of_white = [abs(mean["ventricles"] - mean["white"]) for mean in means]
    figures = {
        "gray-white": _ratio(f["white"] - f["gray"], v["white"] - v["gray"]),
        "ventricles": _ratio(of_white[0], max(of_white[1:])),
    }
    if head.case.modality == "CT":
        figures["bone"] = _ratio(f["bone"], i["bone"])
    else:
        figures["hot lesion"] = _ratio(f["hot"], i["hot"])
        figures["cold lesion"] = _ratio(f["beside"] - f["cold"], i["beside"] - i["cold"])
    figures["excess"] = float(excess_over_sources(fused[0], image[0])["largest"])
    return figures


def measure_noise(case: Case, clean: Tensor, noisy: Tensor) -> dict[str, float]:
    """Measure what noise leaves of a result.

    Args:
        case: the sources without noise.
        clean: their fusion [1, 1, H, W, D], nominally in [0, 1].
        noisy: likewise, of the sources with noise.

    Returns:
        "PSNR" in dB and "SSIM" of fused(noisy) to fused(clean), inside the head, and "flicker" of
        fused(noisy), in gray levels of 255, beyond the sources without noise.
    """
    figures = measure_robustness(case, clean, noisy)
    figures["flicker"] = float(flicker(noisy.clamp(0, 1), case.image, mask=case.head()))
    return figures


def _means(image: Tensor, regions: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    values = np.asarray(image, dtype=np.float64)
    return {n: float(values[r].mean()) if r.any() else math.nan for n, r in regions.items()}


def _ratio(kept: float, whole: float) -> float:
    return kept / whole if whole else math.nan
