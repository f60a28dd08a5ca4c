r"""Correlation and error against the sources: CC, SCD, PSNR.

With Pearson's correlation :math:`r` over all pixels, for the fused image f of a and b:

.. math::
    \mathrm{CC}   &= (r(f, a) + r(f, b)) / 2 \\
    \mathrm{SCD}  &= r(f - b, a) + r(f - a, b) \\
    \mathrm{PSNR} &= 10 \log_{10}
        \frac{2\,\mathrm{peak}^2}{\mathrm{MSE}(f, a) + \mathrm{MSE}(f, b)}

The literature's evaluator takes for the peak the largest value of the fused image and not that of
the scale.

References:
    [1] V. Aslantas, E. Bendes, A new image quality metric for image fusion: the sum of the
        correlations of differences, AEU International Journal of Electronics and Communications 69
        (2015).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from monai_ddfm.metrics.planes import WHITE

__all__ = ["correlation", "peak_signal_to_noise_ratio", "sum_of_correlations_of_differences"]

# Variance in squared gray levels below which an image is constant and its correlation rounding.
_CONSTANT: Final = 1e-12


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return Pearson's correlation of two images.

    Args:
        x: [N, H, W].
        y: same shape.

    Returns:
        [N] in [-1, 1]; NaN where an image is constant.
    """
    x, y = _centered(x), _centered(y)
    var_x, var_y = x.square().mean(dim=1), y.square().mean(dim=1)
    result = ((x * y).mean(dim=1) / (var_x * var_y).sqrt()).clamp(-1, 1)
    return result.masked_fill(torch.minimum(var_x, var_y) <= _CONSTANT, torch.nan)


def sum_of_correlations_of_differences(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return how well what is left after subtracting one source resembles the other.

    A fused image that equals one source holds nothing of the other; that term is zero.

    Args:
        fused: [N, H, W].
        first: one source, same shape.
        second: the other.

    Returns:
        [N] in [-2, 2]; NaN where a source is constant.
    """
    return _resemblance(fused - second, first) + _resemblance(fused - first, second)


def peak_signal_to_noise_ratio(
    fused: Tensor, first: Tensor, second: Tensor, *, peak: Tensor | float = WHITE
) -> Tensor:
    """Return the ratio of a peak value to the mean square difference from both sources, in dB.

    Args:
        fused: [N, H, W].
        first: one source, same shape.
        second: the other.
        peak: the value of the peak, a number or [N].

    Returns:
        [N]; infinite where all three images are equal.
    """
    error = ((fused - first).square() + (fused - second).square()).flatten(1).mean(dim=1) / 2
    return 10 * (torch.as_tensor(peak, dtype=error.dtype, device=error.device) ** 2 / error).log10()


def _resemblance(difference: Tensor, source: Tensor) -> Tensor:
    constant = _centered(difference).square().mean(dim=1) <= _CONSTANT
    source_constant = _centered(source).square().mean(dim=1) <= _CONSTANT
    return correlation(difference, source).masked_fill(constant & ~source_constant, 0.0)


def _centered(image: Tensor) -> Tensor:
    flat = image.flatten(1)
    return flat - flat.mean(dim=1, keepdim=True)
