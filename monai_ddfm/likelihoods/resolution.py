r"""How wide a scanner's point spread is, estimated from its image and a registered MRI.

Uptake depends on the tissue, and the tissue is what an MRI shows. So in a small block of the head
the image is, but for the blur :math:`G_F` of width F, some function of the MRI's value v; let it be
piecewise linear, with hat functions :math:`\varphi_k` on five even knots:

.. math::

    f \approx G_F * \sum_k a_k\, \varphi_k(v) .

For every F the coefficients are found by least squares in each block, and the F whose residual,
summed over the blocks, is smallest is the estimate; a parabola through the three best gives its
fraction. Hat functions take a voxel that is half of one tissue and half of another for what it
is, which classes with sharp borders do not: these come out a millimeter too wide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.likelihoods.point_spread import gaussian_blur

__all__ = ["estimate_fwhm"]

_KNOTS: Final = 5
_TOP: Final = 1.1  # of the MRI's scale
_WIDTHS: Final = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 17.0, 20.0)
_BLOCK_MM: Final = 30.0
_MARGIN_MM: Final = 8.0
_VOXEL_MM: Final = 2.0
_LEAST_SIGNAL: Final = 0.5  # the brain: in skin and bone uptake does not follow the MRI
_FEWEST_VOXELS: Final = 500
_LEAST_GAIN: Final = 0.02


def estimate_fwhm(
    image: Tensor,
    guide: Tensor,
    *,
    spacing: Sequence[float],
    scale: float,
    guide_scale: float,
    measured: Tensor | None = None,
) -> float | None:
    """Estimate the full width at half maximum of a Gaussian point spread.

    Args:
        image: f, [N_1, N_2, N_3], in any units.
        guide: v, the MRI on the same grid.
        spacing: edges of the voxels in mm.
        scale: what of the image counts as bright, in its units.
        guide_scale: the same for the MRI.
        measured: 1 where `image` was measured and 0 elsewhere; None for everywhere.

    Returns:
        The width in mm, with the blur that an interpolation has added; None if the image does not
        follow the MRI enough to tell.
    """
    image, guide = image.float() / scale, guide.float() / guide_scale
    inside = torch.ones_like(image) if measured is None else measured.float()
    factors = [max(1, round(_VOXEL_MM / edge)) for edge in spacing]
    image, guide, inside = (
        functional.avg_pool3d(part[None, None], factors)[0, 0] for part in (image, guide, inside)
    )
    edges = [edge * factor for edge, factor in zip(spacing, factors, strict=True)]
    knots = torch.linspace(0, _TOP, _KNOTS, device=guide.device)
    at = guide.clamp(0, _TOP)
    hats = torch.stack([(1 - (at - knot).abs() / knots[1]).clamp_min(0) for knot in knots])
    blocks = [b for b in _blocks(image.shape, edges) if _tells(image[b], inside[b])]
    if not blocks:
        return None
    residuals = []
    for width in _WIDTHS:
        blur = gaussian_blur(image.shape, edges, width, like=image)
        seen = torch.stack([blur(hat) for hat in hats])
        residuals.append(sum(_residual(seen[:, *b], image[b]) for b in blocks))
    return _lowest(residuals)


def _blocks(shape: Sequence[int], edges: Sequence[float]) -> list[tuple[slice, slice, slice]]:
    """Cut a grid into blocks, a margin from its borders away, where the blur is not known."""
    axes = []
    for size, edge in zip(shape, edges, strict=True):
        margin = min(round(_MARGIN_MM / edge), size // 4)
        length = size - 2 * margin
        count = max(1, round(length * edge / _BLOCK_MM))
        ends = [margin + length * k // count for k in range(count + 1)]
        axes.append([slice(a, b) for a, b in itertools.pairwise(ends)])
    return list(itertools.product(*axes))


def _tells(image: Tensor, inside: Tensor) -> bool:
    full = image.numel() >= _FEWEST_VOXELS and bool(inside.min() > 0.99)
    return full and float(image.mean()) > _LEAST_SIGNAL


def _residual(seen: Tensor, image: Tensor) -> float:
    """Sum of the squares that no coefficients explain, in float64."""
    basis, target = seen.flatten(1).double(), image.flatten().double()
    gram = basis @ basis.T
    gram += 1e-9 * gram.trace() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    found = torch.linalg.solve(gram, basis @ target)
    return float((target - found @ basis).square().sum())


def _lowest(residuals: Sequence[float]) -> float | None:
    """Return the width at the lowest point; None at an end, or where the curve is flat."""
    best = min(range(len(residuals)), key=residuals.__getitem__)
    if best in (0, len(residuals) - 1):
        return None
    x0, x1, x2 = (float(_WIDTHS[best + step]) for step in (-1, 0, 1))
    y0, y1, y2 = (residuals[best + step] for step in (-1, 0, 1))
    if not y1 < (1 - _LEAST_GAIN) * min(residuals[0], residuals[-1]):
        return None
    first, second = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = (second - first) / (x2 - x0)
    lowest = 0.5 * (x0 + x1) - first / (2 * bend)
    return lowest if math.isfinite(lowest) else x1
