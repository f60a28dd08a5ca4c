r"""A likelihood that chooses: which source speaks for the fused image, place by place.

DDFM's likelihood [1, section 3.3] has one Laplace scale for each source, so that its weights are
almost an average. Here the scales are fields. With :math:`C(p)` and :math:`D(p)` the precisions of
the sources i (moving) and v (fixed) at pixel p, the mode of the likelihood is

.. math::

    m = \frac{C i + D v}{C + D} = v + \mathrm{sigm}(d)\,(i - v), \qquad d = \log \frac CD .

A source is the better witness of a place the more signal and the more structure it has there. Both
enter the log-ratio of the precisions, computed on values in [0, 1]:

.. math::

    d = g_b \frac{\bar\imath - \bar v}{\bar\imath + \bar v + c} + g_s \log \frac{E_i}{E_v} +
        b\,\bar\imath, \qquad E_s = G_{\sigma_s} * |\nabla s|^2 + \epsilon

with :math:`\bar s = G_{\sigma_b} * s` (*voxel choice*). The brightness is compared relatively, for
a difference of few gray levels decides in the dark and does not in the light. :math:`b > 0` favors
the bright parts of `moving`: bone in CT, lesions in PET and SPECT.

A single d chooses all of a pixel or nothing: where one source is bright and the other has fine
structure, one of them is lost. So the mode is mixed, with the share :math:`\eta`, with a *choice by
scale*. The undecimated "à trous" pyramid of an image [2] is

.. math::

    c_0 = s, \qquad c_{l+1} = h_l * c_l, \qquad d_l = c_l - c_{l+1}, \qquad
    s = c_L + \sum_{l<L} d_l

with the 5-tap binomial kernel dilated by :math:`2^l`. For each detail the same law holds, with
precisions that grow with the local energy :math:`E = G_\sigma * d_l^2 + \epsilon`,

.. math::

    d_l^f = d_l^v + \mathrm{sigm}\left(\tfrac g2 \log \tfrac{E_i}{E_v}\right) (d_l^i - d_l^v),

and for the smooth rest it is the brighter source that speaks, :math:`w = \mathrm{sigm}(g_r (c_L^i -
c_L^v))`. Their sum is cut to the box between the sources, so that every value of the mode is a
mixture of them. :math:`g \to \infty` is choose-max, :math:`g = 0` the average.

References:
    [1] Z. Zhao et al., DDFM, ICCV 2023, arXiv 2303.06840.
    [2] M. Holschneider et al., A real-time algorithm for signal analysis with the help of the
        wavelet transform, in Wavelets, Springer 1989.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS
from monai_ddfm.utils.former_names import renamed
from monai_ddfm.utils.uploads import upload

__all__ = [
    "SaliencyParameters",
    "a_trous_pyramid",
    "box_blur",
    "likelihood_mode",
    "scale_choice",
    "voxel_choice",
]

_ENERGY_FLOOR = 1e-6
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@dataclass(frozen=True, kw_only=True)
class SaliencyParameters:
    """Parameters of the likelihood; symbols as above, lengths in pixels, values in [0, 1].

    Attributes:
        brightness: g_b, how sharply the voxel choice prefers the brighter source.
        brightness_floor: c, brightness below which differences count less.
        brightness_blur: sigma_b, over which brightness is averaged.
        structure: g_s, how much structure counts in the voxel choice.
        structure_blur: sigma_s, over which the gradient's energy is averaged.
        structure_floor: epsilon, energy of a gradient that counts as none.
        favor_moving: b, in favor of the bright parts of `moving`; 0 treats the sources alike.
        scale_share: eta, share of the choice by scale.
        levels: L, number of details of the choice by scale.
        sharpness: g, how sharply the details choose.
        window: radius over which the finest detail's energy is averaged; doubled level by level.
        base_sharpness: g_r, how sharply the smooth rest chooses.

    Raises:
        InputError: if a parameter is out of range.
    """

    brightness: float = 60.0
    brightness_floor: float = 0.03
    brightness_blur: float = 1.0
    structure: float = 0.75
    structure_blur: float = 0.8
    structure_floor: float = 2e-4
    favor_moving: float = 0.0
    scale_share: float = 0.13
    levels: int = 2
    sharpness: float = 4.5
    window: int = 1
    base_sharpness: float = 20.0

    @classmethod
    def of_modality(cls, name: str | None) -> SaliencyParameters | None:
        """Return those of a row of `monai_ddfm.modalities`; None if it has none, or is none."""
        row = ROWS.get(str(name).upper())
        if row is None or row.contrast is None:
            return None
        return cls(**row.contrast)  # type: ignore[arg-type] # two of them count, and are whole

    def __post_init__(self) -> None:
        if not 0 <= self.scale_share <= 1:
            raise InputError(f"scale share {self.scale_share!r} must lie between 0 and 1.")
        for name in ("brightness_blur", "structure_blur", "levels", "window", "structure"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name.replace('_', ' ')} must not be negative.")
        for name in ("brightness_floor", "structure_floor"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name.replace('_', ' ')} must be more than 0.")


def likelihood_mode(moving: Tensor, fixed: Tensor, parameters: SaliencyParameters) -> Tensor:
    """Return the mode m of the likelihood above.

    Args:
        moving: source i, [N, 1, H, W] in [-1, 1].
        fixed: source v, same shape.
        parameters: the likelihood's parameters.

    Returns:
        Estimate of the fused image, [N, 1, H, W], between the sources in every pixel.
    """
    mode = fixed + voxel_choice(moving, fixed, parameters) * (moving - fixed)
    if parameters.scale_share > 0:
        mode = torch.lerp(mode, scale_choice(moving, fixed, parameters), parameters.scale_share)
    return mode.clamp(torch.minimum(moving, fixed), torch.maximum(moving, fixed))


def voxel_choice(moving: Tensor, fixed: Tensor, parameters: SaliencyParameters) -> Tensor:
    """Return the share of `moving` by brightness and structure, [N, 1, H, W] in [0, 1].

    Args:
        moving: source i, [N, 1, H, W] in [-1, 1].
        fixed: source v, same shape.
        parameters: the likelihood's parameters.
    """
    i, v = (moving + 1) / 2, (fixed + 1) / 2
    bright_i, bright_v = (_gaussian_blur(s, sigma=parameters.brightness_blur) for s in (i, v))
    total = bright_i + bright_v + parameters.brightness_floor
    odds = (
        parameters.brightness * (bright_i - bright_v) / total + parameters.favor_moving * bright_i
    )
    if parameters.structure > 0:
        energy_i, energy_v = (
            _gaussian_blur(_squared_gradient(s), sigma=parameters.structure_blur)
            + parameters.structure_floor
            for s in (i, v)
        )
        odds = odds + parameters.structure * (energy_i.log() - energy_v.log())
    return torch.sigmoid(odds)


def a_trous_pyramid(images: Tensor, *, levels: int) -> tuple[list[Tensor], Tensor]:
    """Split images into details of growing scale and a smooth rest; their sum is the images.

    Args:
        images: [N, 1, H, W].
        levels: number of details, at least 0.

    Returns:
        Details, finest first, and the rest, each [N, 1, H, W].
    """
    details = []
    kernel = upload(torch.tensor(_BINOMIAL), images.device, dtype=images.dtype)
    for level in range(levels):
        smooth = _separable(images, kernel, dilation=2**level)
        details.append(images - smooth)
        images = smooth
    return details, images


def box_blur(images: Tensor, *, radius: int) -> Tensor:
    """Mean over a square of side 2 radius + 1, applied twice, which is nearly Gaussian.

    Args:
        images: [N, 1, H, W].
        radius: half side of the square in pixels; 0 changes nothing.

    Returns:
        [N, 1, H, W]; the border is repeated outwards.
    """
    kernel = images.new_full((2 * radius + 1,), 1 / (2 * radius + 1))
    for _ in range(2 if radius else 0):
        images = _separable(images, kernel, dilation=1)
    return images


def scale_choice(moving: Tensor, fixed: Tensor, parameters: SaliencyParameters) -> Tensor:
    """Return the estimate that is chosen detail by detail, between the sources in every pixel.

    Args:
        moving: source i, [N, 1, H, W] in [-1, 1].
        fixed: source v, same shape.
        parameters: the likelihood's parameters.

    Returns:
        [N, 1, H, W].
    """
    details_i, base_i = a_trous_pyramid(moving, levels=parameters.levels)
    details_v, base_v = a_trous_pyramid(fixed, levels=parameters.levels)
    share = torch.sigmoid(parameters.base_sharpness * (base_i - base_v))
    estimate = base_v + share * (base_i - base_v)
    for level, (detail_i, detail_v) in enumerate(zip(details_i, details_v, strict=True)):
        radius = parameters.window * 2**level
        energy_i, energy_v = (
            (box_blur(detail.square(), radius=radius) + _ENERGY_FLOOR).log()
            for detail in (detail_i, detail_v)
        )
        weight = torch.sigmoid(parameters.sharpness / 2 * (energy_i - energy_v))
        estimate = estimate + detail_v + weight * (detail_i - detail_v)
    return estimate.clamp(torch.minimum(moving, fixed), torch.maximum(moving, fixed))


def _squared_gradient(images: Tensor) -> Tensor:
    """Mean of the squared forward and backward differences, summed over both directions."""
    total = torch.zeros_like(images)
    for axis in (-2, -1):
        step = images.diff(dim=axis).square() / 2
        length = images.shape[axis]
        total.narrow(axis, 0, length - 1).add_(step)
        total.narrow(axis, 1, length - 1).add_(step)
    return total


def _gaussian_blur(images: Tensor, *, sigma: float) -> Tensor:
    radius = math.floor(3 * sigma + 0.5)
    if radius == 0:
        return images
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = upload(kernel / kernel.sum(), images.device, dtype=images.dtype)
    return _separable(images, kernel, dilation=1)


def _separable(images: Tensor, kernel: Tensor, *, dilation: int) -> Tensor:
    """Filter along both sides with an odd kernel; the border is repeated outwards."""
    reach = dilation * (kernel.shape[0] // 2)
    rows = functional.pad(images, (0, 0, reach, reach), mode="replicate")
    rows = functional.conv2d(rows, kernel[None, None, :, None], dilation=(dilation, 1))
    columns = functional.pad(rows, (reach, reach, 0, 0), mode="replicate")
    return functional.conv2d(columns, kernel[None, None, None, :], dilation=(1, dilation))


if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(__name__, {"Choice": "SaliencyParameters"})
