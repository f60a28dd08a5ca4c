r"""Visual information fidelity in the pixel domain (VIF).

Reference :math:`r` and distorted image :math:`d` are compared at four scales in Gaussian windows of
17, 9, 5 and 3 pixels (sigma a fifth of the size). The channel from one to the other is a gain
:math:`g = \sigma_{rd} / \sigma_r^2` and noise of variance
:math:`\sigma_v^2 = \sigma_d^2 - g \sigma_{rd}`; the eye adds noise of variance
:math:`\sigma_n^2 = 2` (in gray levels of 0 to 255):

.. math::
    \mathrm{VIF} = \frac{\sum \log_{10} \big(1 + g^2 \sigma_r^2 / (\sigma_v^2 + \sigma_n^2)\big)}
                        {\sum \log_{10} \big(1 + \sigma_r^2 / \sigma_n^2\big)}

summed over windows and scales. Between scales both images are filtered by the window of the new
scale and every second pixel is kept. It is 1 for identical images and exceeds 1 where contrast has
been enhanced. In a fusion each source is the reference once.

References:
    [1] H. R. Sheikh, A. C. Bovik, Image information and visual quality, IEEE Transactions on Image
        Processing 15 (2006).
    [2] Y. Han et al., A new image fusion performance metric based on visual information fidelity,
        Information Fusion 14 (2013).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.local import filter_valid, gaussian_taps, local_moments

__all__ = ["visual_information_fidelity"]

_WINDOWS: Final = (17, 9, 5, 3)
_EYE_NOISE: Final = 2.0
_EPSILON: Final = 1e-10
_SMALLEST: Final = 41


def visual_information_fidelity(reference: Tensor, distorted: Tensor) -> Tensor:
    """Return the share of the reference's information that is left in the distorted image.

    Args:
        reference: [N, H, W] on the scale 0 to 255, at least 41 x 41 pixels.
        distorted: same shape.

    Returns:
        [N], not negative; 1 where the reference is constant and has nothing to lose.

    Raises:
        InputError: if the images are smaller.
    """
    if min(reference.shape[-2:]) < _SMALLEST:
        raise InputError(f"VIF needs images of at least {_SMALLEST} x {_SMALLEST} pixels.")
    kept = total = torch.zeros(len(reference), dtype=reference.dtype, device=reference.device)
    for scale, size in enumerate(_WINDOWS):
        taps = gaussian_taps(size, size / 5)
        if scale > 0:
            both = filter_valid(torch.stack((reference, distorted)), taps)
            reference, distorted = both[..., ::2, ::2]
        of_distorted, of_reference = _information(reference, distorted, taps)
        kept, total = kept + of_distorted, total + of_reference
    return torch.where(total > 0, kept / total, 1.0)


def _information(reference: Tensor, distorted: Tensor, taps: list[float]) -> tuple[Tensor, Tensor]:
    """Return the information at one scale in the distorted image and in the reference."""
    _, _, var_r, var_d, cov = local_moments(reference, distorted, taps)
    gain = cov / (var_r + _EPSILON)
    noise = var_d - gain * cov
    flat_r, flat_d = var_r < _EPSILON, var_d < _EPSILON
    # A window without contrast in either image carries nothing over; a negative gain is no signal.
    lost = flat_r | flat_d | (gain < 0)
    gain = gain.masked_fill(lost, 0)
    noise = torch.where(lost, var_d, noise).masked_fill(flat_d, 0).clamp_min(_EPSILON)
    var_r = var_r.masked_fill(flat_r, 0)
    kept = (1 + gain.square() * var_r / (noise + _EYE_NOISE)).log10()
    return kept.flatten(1).sum(dim=1), (1 + var_r / _EYE_NOISE).log10().flatten(1).sum(dim=1)
