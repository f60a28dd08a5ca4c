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

**Magnitudes.** The values of an MRI are magnitudes of complex ones, and their noise is Rician [3].
Where there is no signal it is Rayleigh's: with the deviation :math:`\sigma` of the noise elsewhere,
the mean is :math:`\sqrt{\pi / 2}\,\sigma = 1.25\,\sigma` and the deviation
:math:`\sqrt{2 - \pi / 2}\,\sigma = 0.66\,\sigma`, while normal noise that was cut at black has
:math:`0.4\,\sigma` and :math:`0.58\,\sigma`. The windows below :math:`2\,\sigma` tell one from the
other.

References:
    [1] J. Immerkær, Fast noise variance estimation, Computer Vision and Image Understanding 64
        (1996).
    [2] X. Liu, M. Tanaka, M. Okutomi, Single-image noise level estimation for blind denoising, IEEE
        Transactions on Image Processing 22 (2013), has the idea of weak texture, in another form.
    [3] H. Gudbjartsson, S. Patz, The Rician distribution of noisy MRI data, Magnetic Resonance in
        Medicine 34 (1995).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.utils.uploads import upload

__all__ = ["Windows", "has_noise_floor", "smooth_windows"]

_MASK: Final = ((1 / 6, -2 / 6, 1 / 6), (-2 / 6, 4 / 6, -2 / 6), (1 / 6, -2 / 6, 1 / 6))
_WINDOW: Final = 7
_STRIDE: Final = 4
_QUANTILE: Final = 0.25
_NORMAL_QUANTILE: Final = -0.6744897501960817
_TISSUE: Final = 0.06
_EDGE_OF_RANGE: Final = 0.02
_FEWEST_WINDOWS: Final = 20
_FLOOR_MEAN: Final = math.sqrt(math.pi / 2)
_FLOOR_DEVIATION: Final = math.sqrt(2 - math.pi / 2)
_FLOOR_TOLERANCE: Final = 0.15


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


def smooth_windows(images: Tensor, *, above: float = _TISSUE) -> Windows:
    """Measure windows that hold neither background nor saturated pixels.

    Args:
        images: [N, 1, H, W] in [-1, 1], -1 being background; the slices of one volume, say.
        above: mean of a window that is no background, on values in [0, 1].

    Returns:
        The windows; none if an image is smaller than one.

    Raises:
        InputError: if `images` has another shape.
    """
    unit, variance, mean = _measured(images)
    inside = (unit > _EDGE_OF_RANGE) & (unit < 1 - _EDGE_OF_RANGE)
    telling = (mean > above) & _wholly(inside)
    return Windows(mean[telling], variance[telling])


def has_noise_floor(images: Tensor, *, level: float) -> bool:
    """Whether the background shows the noise of magnitudes.

    Args:
        images: as above.
        level: deviation of the noise where there is signal, on the scale from -1 to 1.

    Raises:
        InputError: if `images` has another shape.
    """
    unit, variance, mean = _measured(images)
    dark = (mean < level) & _wholly(unit < 1 - _EDGE_OF_RANGE)
    if level == 0 or int(dark.sum()) < _FEWEST_WINDOWS:
        return False
    typical = float(mean[dark].median()) / (level / 2)
    spread = math.sqrt(float(variance[dark].median())) / (level / 2)
    return (
        abs(typical / _FLOOR_MEAN - 1) < _FLOOR_TOLERANCE
        and abs(spread / _FLOOR_DEVIATION - 1) < _FLOOR_TOLERANCE
    )


def _measured(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images on values in [0, 1], and variance and mean of their windows."""
    if images.ndim != 4 or images.shape[1] != 1:
        raise InputError(f"noise is estimated in images [N, 1, H, W], not {tuple(images.shape)}.")
    unit = (images.float() + 1) / 2
    if min(images.shape[-2:]) < _WINDOW:
        none = images.new_empty((len(images), 1, 0, 0))
        return none, none, none
    mask = upload(torch.tensor(_MASK), unit.device)[None, None]
    rough = functional.conv2d(functional.pad(unit, (1, 1, 1, 1), mode="replicate"), mask).square()
    variance, mean = (functional.avg_pool2d(part, _WINDOW, _STRIDE) for part in (rough, unit))
    return unit, variance, mean


def _wholly(inside: Tensor) -> Tensor:
    """In which windows a condition holds everywhere."""
    if inside.numel() == 0:
        return inside
    return functional.avg_pool2d(inside.float(), _WINDOW, _STRIDE) > 1 - 0.5 / _WINDOW**2


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
