r"""Feature mutual information (FMI).

In every 3 x 3 window of a feature image, the values are stretched to [0, 1] and read as a
distribution :math:`p` over the nine positions (column by column), with the cumulative distribution
:math:`P`. Two such distributions p and q, of source and fused image, have no joint histogram; it is
built from the extreme joint distributions of Fréchet and Hoeffding, so that it has the correlation
:math:`c` that p and q have as images:

.. math::
    J &= \phi \, J^{\pm} + (1 - \phi) \, p q^\top, \qquad \phi = c / c^{\pm} \\
    J^{+}_{jk} &= \big| [P_{j-1}, P_j] \cap [Q_{k-1}, Q_k] \big|

:math:`J^{+}`, of correlation :math:`c^{+}`, is the most concordant joint distribution of p and q.
For :math:`c < 0` the most discordant one takes its place: that is :math:`J^{+}` with the order of p
reversed. A window then has

.. math::
    \mathrm{FMI} = \frac{2 (H(p) + H(q) - H(J))}{H(p) + H(q)}

or 1 where both windows are identical. The result is the mean over all windows and both sources.
:math:`\phi` may exceed 1 and J then has negative entries; as in the published implementation, they
enter the entropy by :math:`-J \log |J|`, and single windows may leave [0, 1].

Features: ``pixel`` (the gray levels; what most papers print), ``gradient`` (length of the central
differences) and ``dct`` (the discrete cosine transform of the whole image).

References:
    [1] M. Haghighat, A. Aghagolzadeh, H. Seyedarabi, A non-reference image fusion metric based on
        mutual information of image features, Computers and Electrical Engineering 37 (2011).
    [2] M. Haghighat, M. A. Razian, Fast-FMI: non-reference image fusion metric, AICT 2014.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["Feature", "feature_mutual_information"]

Feature = Literal["pixel", "gradient", "dct"]

_SIDE: Final = 3
_CELLS: Final = _SIDE**2
# The 81 joint probabilities of so many windows fit into the cache of a processor core; a GPU wants
# more at once.
_WINDOWS_AT_ONCE: Final = 2048
_WINDOWS_AT_ONCE_GPU: Final = 1 << 17


def feature_mutual_information(
    fused: Tensor, first: Tensor, second: Tensor, *, feature: Feature = "pixel"
) -> Tensor:
    """Return the mean normalized mutual information of local features with both sources.

    Args:
        fused: [N, H, W], at least 3 x 3 pixels.
        first: one source, same shape.
        second: the other.
        feature: ``pixel``, ``gradient`` or ``dct``.

    Returns:
        [N]; 1 where all three images are equal.

    Raises:
        InputError: if the feature is unknown or the images are smaller.
    """
    if feature not in get_args(Feature):
        raise InputError(f"FMI feature {feature!r} is unknown; use {', '.join(get_args(Feature))}.")
    if min(fused.shape[-2:]) < _SIDE:
        raise InputError(f"FMI needs images of at least {_SIDE} x {_SIDE} pixels.")
    windows_f, windows_a, windows_b = (
        _windows(_feature_image(image, feature)) for image in (fused, first, second)
    )
    both = _pair(windows_a, windows_f) + _pair(windows_b, windows_f)
    return both.view(len(fused), -1).mean(dim=1) / 2


def _feature_image(image: Tensor, feature: Feature) -> Tensor:
    if feature == "gradient":
        along_rows, along_columns = torch.gradient(image, dim=(1, 2))
        return torch.hypot(along_rows, along_columns)
    if feature == "dct":
        height, width = (
            _cosines(size, dtype=image.dtype, device=image.device) for size in image.shape[-2:]
        )
        return height @ image @ width.T
    return image


def _cosines(size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthonormal matrix of the discrete cosine transform (type II)."""
    step = torch.arange(size, dtype=dtype, device=device)
    matrix = torch.cos(math.pi / size * torch.outer(step, step + 0.5)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def _windows(image: Tensor) -> Tensor:
    """Return all windows [M, 9] of [N, H, W], each read column by column."""
    windows = image.unfold(1, _SIDE, 1).unfold(2, _SIDE, 1)
    return windows.transpose(-1, -2).reshape(-1, _CELLS)


def _pair(source: Tensor, fused: Tensor) -> Tensor:
    """Return the information of each window [M]; only windows that can share any are computed."""
    same = (source == fused).all(dim=1)
    varied = (source.amax(1) > source.amin(1)) & (fused.amax(1) > fused.amin(1))
    result = same.to(source.dtype)
    chosen = torch.nonzero(varied & ~same)[:, 0]
    at_once = _WINDOWS_AT_ONCE if source.device.type == "cpu" else _WINDOWS_AT_ONCE_GPU
    for part in torch.split(chosen, at_once):
        result[part] = _normalized_information(_shares(source[part]), _shares(fused[part]))
    return result


def _shares(windows: Tensor) -> Tensor:
    """Stretch each window to [0, 1] and divide by its sum."""
    low, high = windows.amin(1, keepdim=True), windows.amax(1, keepdim=True)
    stretched = (windows - low) / (high - low)
    return stretched / stretched.sum(dim=1, keepdim=True)


def _normalized_information(p: Tensor, q: Tensor) -> Tensor:
    """Return 2 I / (H(p) + H(q)) of the joint distribution described in the module, [M]."""
    centered_p, centered_q = p - 1 / _CELLS, q - 1 / _CELLS
    product = (centered_p * centered_q).sum(dim=1)
    norm = (centered_p.square().sum(dim=1) * centered_q.square().sum(dim=1)).sqrt()
    correlation = product / norm
    p = torch.where((correlation < 0).unsqueeze(1), p.flip(1), p)
    upper_p, upper_q = p.cumsum(dim=1), q.cumsum(dim=1)
    deviation = _deviation(p) * _deviation(q)
    minima = torch.minimum(upper_p.unsqueeze(2), upper_q.unsqueeze(1))
    covariance = minima.flatten(1).sum(dim=1) - upper_p.sum(dim=1) * upper_q.sum(dim=1)
    usable = (deviation > 0) & (covariance > 0)
    share = correlation.abs() * deviation / torch.where(usable, covariance, 1.0)
    share = torch.where(usable, share, 0.0)[:, None, None]
    start = torch.maximum((upper_p - p).unsqueeze(2), (upper_q - q).unsqueeze(1))
    concordant = (minima - start).clamp_min(0)
    joint = torch.lerp(p.unsqueeze(2) * q.unsqueeze(1), concordant, share)
    separate = _entropy(p) + _entropy(q)
    information = separate - _entropy(joint.flatten(1))
    return torch.where(separate > 0, 2 * information / separate, 0.0)


def _deviation(share: Tensor) -> Tensor:
    """Return the standard deviation of the position."""
    position = torch.arange(_CELLS, dtype=share.dtype, device=share.device)
    mean = (share * position).sum(dim=1, keepdim=True)
    return (share * (position - mean).square()).sum(dim=1).sqrt()


def _entropy(share: Tensor) -> Tensor:
    """Return the entropy in nats, with the logarithm of the magnitude."""
    magnitude = share.abs().clamp_min(torch.finfo(share.dtype).tiny)
    return -(share * magnitude.log()).sum(dim=1)
