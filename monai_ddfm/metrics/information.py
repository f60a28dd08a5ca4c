r"""Entropy and mutual information of gray levels (EN, MI, NMI).

With the histogram :math:`p` of 256 levels and the joint histogram :math:`p_{xy}`:

.. math::
    H(x) &= -\sum p \log p \\
    I(x; y) &= H(x) + H(y) - H(x, y) \\
    \mathrm{NMI}(x; y) &= \frac{2 I(x; y)}{H(x) + H(y)}

EN is in bits. The literature's evaluator gives MI in nats and adds it over the two sources, which
is a factor of :math:`2 \ln 2 = 1.386` above the mean in bits of other papers.

References:
    [1] G. Qu, D. Zhang, P. Yan, Information measure for performance of image fusion, Electronics
        Letters 38 (2002).
    [2] M. Hossny, S. Nahavandi, D. Creighton, Comments on "Information measure for performance of
        image fusion", Electronics Letters 44 (2008): the normalized form.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.planes import WHITE

__all__ = ["InformationUnit", "entropy", "mutual_information", "normalized_mutual_information"]

InformationUnit = Literal["bits", "nats"]

_BINS: Final = 256


def entropy(image: Tensor) -> Tensor:
    """Return the entropy of the gray levels in bits, 0 for a constant image to 8.

    Args:
        image: [N, H, W] on the scale 0 to 255; rounded to integers.

    Returns:
        [N].
    """
    return _entropy(_histogram(_bins(image), _BINS, like=image)) / math.log(2)


def mutual_information(x: Tensor, y: Tensor, *, unit: InformationUnit = "bits") -> Tensor:
    """Return the mutual information of the gray levels of two images.

    Args:
        x: [N, H, W] on the scale 0 to 255; rounded to integers.
        y: same shape.
        unit: ``bits`` or ``nats``.

    Returns:
        [N].

    Raises:
        InputError: if the unit is unknown.
    """
    if unit not in get_args(InformationUnit):
        raise InputError(f"unit of information {unit!r} is unknown; use 'bits' or 'nats'.")
    h_x, h_y, h_xy = _entropies(x, y)
    nats = (h_x + h_y - h_xy).clamp_min(0)
    return nats / math.log(2) if unit == "bits" else nats


def normalized_mutual_information(x: Tensor, y: Tensor) -> Tensor:
    """Return the mutual information over the mean entropy, in [0, 1].

    Args:
        x: [N, H, W] on the scale 0 to 255; rounded to integers.
        y: same shape.

    Returns:
        [N]; NaN where both images are constant.
    """
    h_x, h_y, h_xy = _entropies(x, y)
    return 2 * (h_x + h_y - h_xy).clamp_min(0) / (h_x + h_y)


def _entropies(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the entropies of both images and of the pair, in nats."""
    joint = _histogram(_bins(x) * _BINS + _bins(y), _BINS**2, like=x).view(-1, _BINS, _BINS)
    return _entropy(joint.sum(dim=2)), _entropy(joint.sum(dim=1)), _entropy(joint.flatten(1))


def _bins(image: Tensor) -> Tensor:
    return image.flatten(1).round().clamp(0, WHITE).long()


def _histogram(bins: Tensor, count: int, *, like: Tensor) -> Tensor:
    """Return the share of each bin per image, [N, count]."""
    number = len(bins)
    offset = torch.arange(number, device=bins.device).unsqueeze(1) * count
    counts = torch.bincount((bins + offset).flatten(), minlength=number * count)
    return counts.view(number, count).to(like.dtype) / bins.shape[1]


def _entropy(share: Tensor) -> Tensor:
    entropy_of_bins: Tensor = torch.special.entr(share)
    return entropy_of_bins.sum(dim=1)
