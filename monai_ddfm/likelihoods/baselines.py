r"""Plain fusion rules that every fusion has to be compared with.

For two sources a (fixed) and b (moving) of range [0, 1]:

* ``average``: :math:`(a + b) / 2`.
* ``max``: :math:`\max(a, b)`, pixel by pixel.
* ``pyramid``: Laplacian pyramids [1] of both, with the kernel [1, 4, 6, 4, 1] / 16. At each of
  `levels` scales the detail of larger magnitude is kept, of the base the larger value; the result
  is clipped to :math:`[\min(a, b), \max(a, b)]`, so that nothing is invented.
* ``guided``: guided-filter fusion [2]. Each source is split into a base (mean of 31 x 31) and a
  detail. Where the local average of its Laplacian's magnitude is the larger one, its weight is 1,
  elsewhere 0; that map, refined by a guided filter [3] with the source as guide (radius 45,
  :math:`\varepsilon = 0.3` for the base; 7 and :math:`10^{-6}` for the detail), weighs both parts.
  The result is clipped to [0, 1] and may leave the range between the sources.

`stretch` maps the least and the largest value of a result to 0 and 1, as much of the literature
does before it measures. Volumes are fused slice by slice and stretched as a whole.

References:
    [1] P. J. Burt, E. H. Adelson, The Laplacian pyramid as a compact image code, IEEE Transactions
        on Communications 31 (1983).
    [2] S. Li, X. Kang, J. Hu, Image fusion with guided filtering, IEEE Transactions on Image
        Processing 22 (2013).
    [3] K. He, J. Sun, X. Tang, Guided image filtering, IEEE Transactions on Pattern Analysis and
        Machine Intelligence 35 (2013).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError

__all__ = [
    "BASELINES",
    "average",
    "fuse_baseline",
    "guided_filter",
    "guided_filter_fusion",
    "laplacian_pyramid_fusion",
    "maximum",
    "stretch_contrast",
]

_BINOMIAL: Final = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_BASE_RADIUS: Final = 15
_SALIENCY_RADIUS: Final = 5
_SALIENCY_SIGMA: Final = 5.0
_BASE_GUIDE: Final = (45, 0.3)
_DETAIL_GUIDE: Final = (7, 1e-6)


def fuse_baseline(
    image: Tensor, *, method: str, levels: int = 3, stretch: bool = False, axis: int = -1
) -> Tensor:
    """Fuse by one of the plain rules.

    Args:
        image: [B, 2, H, W] or [B, 2, H, W, D] in [0, 1], fixed and moving.
        method: one of `BASELINES`.
        levels: scales of detail of ``pyramid``.
        stretch: stretch the result of each image to [0, 1].
        axis: the spatial axis along which a volume is cut into slices, 0 to 2 or -3 to -1.

    Returns:
        [B, 1, H, W] or [B, 1, H, W, D] of the type of `image`.

    Raises:
        InputError: if the method is unknown, or the image is of another shape or range.
    """
    if method not in _RULES and method != "pyramid":
        raise InputError(f"fusion rule {method!r} is unknown; use {', '.join(BASELINES)}.")
    _check(image, axis)
    image = image.as_subclass(Tensor)
    exact = image if image.device.type == "mps" else image.double()
    fixed, moving = exact[:, :1], exact[:, 1:]
    if image.ndim == 5:
        fixed, moving = (_to_slices(source, axis) for source in (fixed, moving))
    if method == "pyramid":
        fused = laplacian_pyramid_fusion(fixed, moving, levels=levels)
    else:
        fused = _RULES[method](fixed, moving)
    if image.ndim == 5:
        fused = fused.reshape(len(image), -1, *fused.shape[1:]).movedim(1, axis % 3 + 2)
    return (stretch_contrast(fused) if stretch else fused).to(image.dtype)


def average(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the mean of two images of any shape."""
    return (fixed + moving) / 2


def maximum(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the larger of two images, pixel by pixel."""
    return torch.maximum(fixed, moving)


def stretch_contrast(fused: Tensor) -> Tensor:
    """Map the least value of each image to 0 and the largest to 1.

    Args:
        fused: [B, ...].

    Returns:
        The same shape, in [0, 1]; a constant image becomes 0.
    """
    dims = tuple(range(1, fused.ndim))
    low, high = fused.amin(dims, keepdim=True), fused.amax(dims, keepdim=True)
    return (fused - low) / torch.where(high > low, high - low, 1.0)


def laplacian_pyramid_fusion(fixed: Tensor, moving: Tensor, *, levels: int = 3) -> Tensor:
    """Keep the stronger detail at each scale and the larger base, between the sources.

    Args:
        fixed: [B, 1, H, W], any size and range.
        moving: same shape.
        levels: number of scales of detail, at least 1; small images end with fewer.

    Returns:
        [B, 1, H, W], between the sources everywhere.

    Raises:
        InputError: if `levels` is below 1.
    """
    if levels < 1:
        raise InputError(f"the pyramid needs at least 1 level, not {levels}.")
    low, high = torch.minimum(fixed, moving), torch.maximum(fixed, moving)
    details = []
    for _ in range(levels):
        if min(fixed.shape[-2:]) < len(_BINOMIAL):
            break
        smaller = [_reduce(source) for source in (fixed, moving)]
        detail_f, detail_m = (
            source - _expand(small, source)
            for source, small in zip((fixed, moving), smaller, strict=True)
        )
        details.append(torch.where(detail_f.abs() >= detail_m.abs(), detail_f, detail_m))
        fixed, moving = smaller
    fused = torch.maximum(fixed, moving)
    for detail in reversed(details):
        fused = _expand(fused, detail) + detail
    return fused.clamp(low, high)


def guided_filter_fusion(fixed: Tensor, moving: Tensor) -> Tensor:
    """Weigh base and detail by saliency maps refined with a guided filter.

    Args:
        fixed: [B, 1, H, W] in [0, 1].
        moving: same shape.

    Returns:
        [B, 1, H, W] in [0, 1].
    """
    salient = _saliency(fixed) >= _saliency(moving)
    maps = [salient.to(fixed.dtype), (~salient).to(fixed.dtype)]
    bases = [
        _smooth(source, [1 / (2 * _BASE_RADIUS + 1)] * (2 * _BASE_RADIUS + 1))
        for source in (fixed, moving)
    ]
    details = [source - base for source, base in zip((fixed, moving), bases, strict=True)]
    fused = torch.zeros_like(fixed)
    for parts, (radius, epsilon) in ((bases, _BASE_GUIDE), (details, _DETAIL_GUIDE)):
        weights = [
            guided_filter(weight, guide, radius=radius, epsilon=epsilon).clamp(0, 1)
            for weight, guide in zip(maps, (fixed, moving), strict=True)
        ]
        total = (weights[0] + weights[1]).clamp_min(1e-12)
        fused = fused + (weights[0] * parts[0] + weights[1] * parts[1]) / total
    return fused.clamp(0, 1)


def guided_filter(image: Tensor, guide: Tensor, *, radius: int, epsilon: float | Tensor) -> Tensor:
    r"""Smooth an image along the edges of a guide.

    In every window the image is fitted by :math:`\alpha\,\mathrm{guide} + \beta` with the penalty
    :math:`\varepsilon \alpha^2`; the coefficients of all windows around a pixel are averaged.

    Args:
        image: [B, 1, H, W].
        guide: same shape.
        radius: half the side of the square windows, which are cut off at the border.
        epsilon: the penalty, in squared units of the guide; a number, or one for each image,
            [B, 1, 1, 1].

    Returns:
        [B, 1, H, W].
    """

    def mean(values: Tensor) -> Tensor:
        side = 2 * radius + 1
        for size, padding in (((side, 1), (radius, 0)), ((1, side), (0, radius))):
            values = functional.avg_pool2d(values, size, 1, padding, count_include_pad=False)
        return values

    mean_guide, mean_image = mean(guide), mean(image)
    variance = (mean(guide * guide) - mean_guide.square()).clamp_min(0)
    slope = (mean(guide * image) - mean_guide * mean_image) / (variance + epsilon)
    return mean(slope) * guide + mean(mean_image - slope * mean_guide)


_RULES: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "average": average,
    "max": maximum,
    "guided": guided_filter_fusion,
}

BASELINES: Final[tuple[str, ...]] = ("average", "max", "pyramid", "guided")
"""The names that `fuse_baseline` knows."""


def _saliency(source: Tensor) -> Tensor:
    """Return the local average of the magnitude of the Laplacian."""
    padded = functional.pad(source, (1, 1, 1, 1), mode="replicate")
    neighbors = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    neighbors = neighbors + padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    offset = torch.arange(-_SALIENCY_RADIUS, _SALIENCY_RADIUS + 1, dtype=torch.float64)
    taps = torch.exp(-offset.square() / (2 * _SALIENCY_SIGMA**2))
    return _smooth((neighbors - 4 * source).abs(), (taps / taps.sum()).tolist())


def _smooth(image: Tensor, taps: list[float] | tuple[float, ...]) -> Tensor:
    """Correlate with the same symmetric taps along both axes; the border is repeated."""
    radius = len(taps) // 2
    image = functional.pad(image, (radius,) * 4, mode="replicate")
    for axis in (-1, -2):
        length = image.shape[axis] - 2 * radius
        total = image.narrow(axis, 0, length) * taps[0]
        for start, tap in enumerate(taps[1:], start=1):
            total = total + tap * image.narrow(axis, start, length)
        image = total
    return image


def _reduce(image: Tensor) -> Tensor:
    """Smooth and keep every second pixel."""
    return _smooth(image, _BINOMIAL)[..., ::2, ::2]


def _expand(small: Tensor, target: Tensor) -> Tensor:
    """Interpolate to the size of `target` with the kernel of the pyramid."""
    rows, columns = small.shape[-2] * 2, small.shape[-1] * 2
    wide = small.new_zeros(*small.shape[:-2], rows, columns)
    weight = small.new_zeros(1, 1, rows, columns)
    wide[..., ::2, ::2], weight[..., ::2, ::2] = small, 1.0
    # At the border the repeated zeros unbalance the kernel; its own sum there restores the mean.
    interpolated = _smooth(wide, _BINOMIAL) / _smooth(weight, _BINOMIAL)
    return interpolated[..., : target.shape[-2], : target.shape[-1]]


def _to_slices(volume: Tensor, axis: int) -> Tensor:
    """Cut [B, 1, H, W, D] into [N, 1, H, W]."""
    return volume.movedim(axis % 3 + 2, 1).flatten(0, 1)


def _check(image: Tensor, axis: int) -> None:
    if image.ndim not in {4, 5} or image.shape[1] != 2:
        raise InputError(
            "the image to be fused must have the shape [B, 2, H, W] or [B, 2, H, W, D], not "
            f"{list(image.shape)}."
        )
    if image.ndim == 5 and not -3 <= axis <= 2:
        raise InputError(f"slice axis {axis} does not exist; use 0, 1 or 2 (or -3 to -1).")
    low, high = (float(value) for value in image.aminmax())
    if not (low >= 0 and high <= 1):
        raise InputError(
            "the plain fusion rules take images in [0, 1] without NaN, not from "
            f"{low:g} to {high:g}; scale them first."
        )
