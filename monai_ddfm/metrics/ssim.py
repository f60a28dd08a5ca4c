r"""Structural similarity (SSIM) and its multi-scale form (MS-SSIM).

With the local moments of both images and :math:`C_i = (K_i R)^2`, :math:`K_1 = 0.01`,
:math:`K_2 = 0.03` and R the range of the data:

.. math::
    \mathrm{SSIM} = \overline{\; l \cdot c \;}, \qquad
    l = \frac{2 \mu_x \mu_y + C_1}{\mu_x^2 + \mu_y^2 + C_1}, \qquad
    c = \frac{2 \sigma_{xy} + C_2}{\sigma_x^2 + \sigma_y^2 + C_2}

over all windows that lie wholly in the image. Two windows are in use:

* ``gaussian``: 11 x 11, sigma 1.5, as in [1].
* ``uniform``: 7 x 7 with the sample covariance (divisor 48), the default of scikit-image.

The literature's evaluator calls scikit-image's default on float images of 0 to 255 without naming
their range. The versions that it was written for (before 0.20) then took the range of the type,
-1 to 1, so that R = 2 instead of 255 and both constants all but vanish: flat regions that differ
by a gray level count as wholly dissimilar. `structural_similarity` reproduces those figures with
``data_range=2``; on brain images the sum over two sources is then lower by 0.1 to 0.3.

MS-SSIM is :math:`\prod_{j<M} \bar c_j^{\,w_j} \cdot \overline{(l c)}_M^{\,w_M}` over five scales,
each of half the size of the one before.

References:
    [1] Z. Wang et al., Image quality assessment: from error visibility to structural similarity,
        IEEE Transactions on Image Processing 13 (2004).
    [2] Z. Wang, E. P. Simoncelli, A. C. Bovik, Multiscale structural similarity for image quality
        assessment, Asilomar Conference (2003): the exponents.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.local import gaussian_taps, local_moments
from monai_ddfm.metrics.planes import WHITE

__all__ = ["multiscale_structural_similarity", "structural_similarity"]

Window = Literal["gaussian", "uniform"]

_K1: Final = 0.01
_K2: Final = 0.03
_EXPONENTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_GAUSSIAN_SIZE: Final = 11
_UNIFORM_SIZE: Final = 7


def structural_similarity(
    x: Tensor,
    y: Tensor,
    *,
    data_range: float = WHITE,
    window: Window = "gaussian",
    mask: Tensor | None = None,
) -> Tensor:
    """Return the mean structural similarity of two images.

    Args:
        x: [N, H, W], at least as large as the window.
        y: same shape.
        data_range: R of the constants, in the units of the images.
        window: ``gaussian`` or ``uniform``, see the module.
        mask: boolean [N, H, W]; only windows whose center is inside count.

    Returns:
        [N], at most 1; NaN where the mask is empty.

    Raises:
        InputError: if the images are smaller than the window.
    """
    similarity, contrast = _terms(x, y, data_range=data_range, window=window)
    values = similarity * contrast
    if mask is None:
        return values.flatten(1).mean(dim=1)
    margin = (x.shape[-1] - values.shape[-1]) // 2
    inside = mask[:, margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]
    return (values * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)


def multiscale_structural_similarity(x: Tensor, y: Tensor, *, data_range: float = WHITE) -> Tensor:
    """Return the structural similarity over five scales.

    Images below 176 pixels have room for fewer scales; the exponents of those that fit are then
    brought to the same sum. Negative means, of images that are opposite in contrast, count as zero.

    Args:
        x: [N, H, W], at least 11 x 11 pixels.
        y: same shape.
        data_range: R of the constants, in the units of the images.

    Returns:
        [N] in [0, 1].

    Raises:
        InputError: if the images are smaller than the window.
    """
    side, scales = min(x.shape[-2:]), 1
    while scales < len(_EXPONENTS) and side >> scales >= _GAUSSIAN_SIZE:
        scales += 1
    exponents = [value * sum(_EXPONENTS) / sum(_EXPONENTS[:scales]) for value in _EXPONENTS]
    result = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for scale in range(scales):
        similarity, contrast = _terms(x, y, data_range=data_range, window="gaussian")
        term = contrast if scale < scales - 1 else similarity * contrast
        result = result * term.flatten(1).mean(dim=1).clamp_min(0) ** exponents[scale]
        if scale < scales - 1:
            x, y = (functional.avg_pool2d(image.unsqueeze(1), 2).squeeze(1) for image in (x, y))
    return result


def _terms(x: Tensor, y: Tensor, *, data_range: float, window: Window) -> tuple[Tensor, Tensor]:
    """Return the maps of luminance and of contrast and structure."""
    size = _UNIFORM_SIZE if window == "uniform" else _GAUSSIAN_SIZE
    if min(x.shape[-2:]) < size:
        raise InputError(f"SSIM needs images of at least {size} x {size} pixels.")
    uniform = window == "uniform"
    taps = [1 / size] * size if uniform else gaussian_taps(size, 1.5)
    mean_x, mean_y, var_x, var_y, cov = local_moments(x, y, taps)
    if uniform:
        sample = size**2 / (size**2 - 1)
        var_x, var_y, cov = var_x * sample, var_y * sample, cov * sample
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return similarity, (2 * cov + c2) / (var_x + var_y + c2)
