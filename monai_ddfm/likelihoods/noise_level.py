r"""How noisy images are, estimated from themselves where they are smoothest.

The mask

.. math::

    M = \frac16 \begin{pmatrix} 1 & -2 & 1 \\ -2 & 4 & -2 \\ 1 & -2 & 1 \end{pmatrix}

of Immerkær [1] removes everything that varies linearly and passes white noise of standard deviation
:math:`\sigma` with the same deviation, for its coefficients' squares sum to 1. Edges and texture
pass too. So the mean of :math:`(M * x)^2` is taken over small windows, and of the windows a low
quantile: the smoothest part of an image shows the noise and little else [2]. The quantile for
windows of pure noise is known by calculation (the mean of squares of n correlated normal numbers is
nearly a :math:`\chi^2` variable), and divided out.

Windows with background, or with saturated pixels, say nothing of the noise and are left out.
The estimate is the level of white noise; smooth noise, as in reconstructed PET, counts as image.

References:
    [1] J. Immerkær, Fast noise variance estimation, Computer Vision and Image Understanding 64
        (1996).
    [2] X. Liu, M. Tanaka, M. Okutomi, Single-image noise level estimation for blind denoising, IEEE
        Transactions on Image Processing 22 (2013), has the idea of weak texture, in another form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError

__all__ = ["Windows", "smooth_windows"]

_MASK: Final = ((1 / 6, -2 / 6, 1 / 6), (-2 / 6, 4 / 6, -2 / 6), (1 / 6, -2 / 6, 1 / 6))
_WINDOW: Final = 7
_STRIDE: Final = 4
_QUANTILE: Final = 0.25
_NORMAL_QUANTILE: Final = -0.6744897501960817
_TISSUE: Final = 0.06
_EDGE_OF_RANGE: Final = 0.02
_FEWEST_WINDOWS: Final = 20


@dataclass(frozen=True, slots=True)
class Windows:
    """What small windows of images tell of their noise, on values in [0, 1].

    Attributes:
        means: of the signal, [K].
        variances: of what passes the mask M, [K].
    """

    means: Tensor
    variances: Tensor

    @property
    def level(self) -> float:
        """Standard deviation on the scale from -1 to 1, by the smoothest windows; 0 of too few."""
        if self.variances.numel() < _FEWEST_WINDOWS:
            return 0.0
        deviation = float(self.variances.double().sqrt().quantile(_QUANTILE))
        return 2 * deviation / _quantile_of_noise()


def smooth_windows(images: Tensor) -> Windows:
    """Measure windows that hold neither background nor saturated pixels.

    Args:
        images: [N, 1, H, W] in [-1, 1], -1 being background; the slices of one volume, say.

    Returns:
        The windows; none if an image is smaller than one.

    Raises:
        InputError: if `images` has another shape.
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise InputError(f"noise is estimated in images [N, 1, H, W], not {tuple(images.shape)}.")
    if min(images.shape[-2:]) < _WINDOW:
        return Windows(images.new_empty(0), images.new_empty(0))
    unit = (images.float() + 1) / 2
    mask = unit.new_tensor(_MASK)[None, None]
    rough = functional.conv2d(functional.pad(unit, (1, 1, 1, 1), mode="replicate"), mask).square()
    inside = (unit > _EDGE_OF_RANGE) & (unit < 1 - _EDGE_OF_RANGE)
    variance, mean, share = (
        functional.avg_pool2d(part, _WINDOW, _STRIDE) for part in (rough, unit, inside.float())
    )
    telling = (mean > _TISSUE) & (share > 1 - 0.5 / _WINDOW**2)
    return Windows(mean[telling], variance[telling])


def _quantile_of_noise() -> float:
    """Quantile of a window's root mean square, where there is nothing but noise of deviation 1.

    A mean of n squares with correlation r_k has the variance 2 sum(r_k^2) / n, as a chi-square of
    n / sum(r_k^2) degrees of freedom has; its quantile is that of Wilson and Hilferty.
    """
    mask = torch.tensor(_MASK, dtype=torch.float64)[None, None]
    correlation = functional.conv2d(mask, mask, padding=2)[0, 0]
    span = torch.arange(-2, 3, dtype=torch.float64).abs()
    # Pairs at a distance are fewer than pixels, because windows end.
    pairs = (_WINDOW - span[:, None]) * (_WINDOW - span[None, :]) / _WINDOW**2
    freedom = _WINDOW**2 / float((correlation.square() * pairs).sum())
    part = 2 / (9 * freedom)
    return math.sqrt((1 - part + _NORMAL_QUANTILE * math.sqrt(part)) ** 3)
