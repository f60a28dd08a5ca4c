r"""A likelihood that chooses: which source speaks for the fused image, scale by scale.

DDFM's likelihood has one Laplace scale for each source, so its weights are almost an average. Here
the scales vary over space and over spatial frequency. The undecimated "à trous" pyramid of an image
(Holschneider et al. 1989) is

.. math::

    c_0 = s, \qquad c_{l+1} = h_l * c_l, \qquad d_l = c_l - c_{l+1}, \qquad
    s = c_L + \sum_{l<L} d_l

with the 5-tap binomial kernel dilated by :math:`2^l`. For the detail :math:`d_l` of the fused image
the hierarchical model of DDFM (arXiv 2303.06840, section 3.3) is kept, with the precision of each
source's Laplace law proportional to a power of that source's local energy
:math:`E = G_\sigma * d_l^2 + \epsilon`, because a source that has structure in a place is a better
witness of structure there than one that has none:

.. math::

    d_l^f \mid d_l^i, d_l^v: \quad C = E_i^{g/2}, \; D = E_v^{g/2}, \qquad
    d_l^f = \frac{C d_l^i + D d_l^v}{C + D}
          = d_l^v + \mathrm{sigm}\left(\tfrac g2 \log \tfrac{E_i}{E_v}\right) (d_l^i - d_l^v).

The coarsest level carries brightness; there the brighter source is the witness (bone in CT, tracer
in PET, tissue in MRI), softly: :math:`w = \mathrm{sigm}(g_b (c_L^i - c_L^v))`.

The likelihood's estimate is the sum of all levels, cut to the box between the two sources, so that
every value is a mixture of them. :math:`g` is how sharply it decides; :math:`g \to \infty` is
choose-max, :math:`g = 0` the average.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["a_trous_pyramid", "box_blur", "salient_estimate"]

_ENERGY_FLOOR = 1e-6
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def a_trous_pyramid(images: Tensor, *, levels: int) -> tuple[list[Tensor], Tensor]:
    """Split images into details of growing scale and a smooth rest; their sum is the images.

    Args:
        images: [N, 1, H, W].
        levels: number of details, at least 0.

    Returns:
        Details, finest first, and the rest, each [N, 1, H, W].
    """
    details = []
    kernel = images.new_tensor(_BINOMIAL)
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


def salient_estimate(
    moving: Tensor,
    fixed: Tensor,
    *,
    levels: int = 2,
    sharpness: float = 4.0,
    window: int = 2,
    base_sharpness: float = 20.0,
) -> Tensor:
    """Return the mode of the likelihood above.

    Args:
        moving: source i, [N, 1, H, W] in [-1, 1].
        fixed: source v, same shape.
        levels: number of details that are chosen by their energy.
        sharpness: g, how sharply the details choose.
        window: radius in pixels over which the finest detail's energy is collected; doubled from
            level to level.
        base_sharpness: g_b, how sharply the smooth rest chooses the brighter source.

    Returns:
        Estimate of the fused image, [N, 1, H, W], between the sources in every pixel.
    """
    details_i, base_i = a_trous_pyramid(moving, levels=levels)
    details_v, base_v = a_trous_pyramid(fixed, levels=levels)
    estimate = base_v + torch.sigmoid(base_sharpness * (base_i - base_v)) * (base_i - base_v)
    for level, (detail_i, detail_v) in enumerate(zip(details_i, details_v, strict=True)):
        radius = window * 2**level
        energy_i, energy_v = (
            (box_blur(detail.square(), radius=radius) + _ENERGY_FLOOR).log()
            for detail in (detail_i, detail_v)
        )
        weight = torch.sigmoid(sharpness / 2 * (energy_i - energy_v))
        estimate = estimate + detail_v + weight * (detail_i - detail_v)
    return estimate.clamp(torch.minimum(moving, fixed), torch.maximum(moving, fixed))


def _separable(images: Tensor, kernel: Tensor, *, dilation: int) -> Tensor:
    """Filter along both sides with an odd kernel; the border is repeated outwards."""
    reach = dilation * (kernel.shape[0] // 2)
    rows = functional.pad(images, (0, 0, reach, reach), mode="replicate")
    rows = functional.conv2d(rows, kernel[None, None, :, None], dilation=(dilation, 1))
    columns = functional.pad(rows, (reach, reach, 0, 0), mode="replicate")
    return functional.conv2d(columns, kernel[None, None, None, :], dilation=(1, dilation))
