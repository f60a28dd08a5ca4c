r"""Random appearance and geometry for the prior's training slices, a batch at a time.

The prior must judge fused pictures of any modality, yet it is trained on T1-weighted heads alone.
So each slice t (values in [0, 1]) is shown under a random view and a random contrast:

1. *View*: rotation, flips, shift and a pixel size drawn log-uniformly, sampled bicubically at twice
   the resolution and averaged down, so that coarse views are not aliased.
2. *Rendering*: inside the head, t is sent through a random curve (gamma, a monotone curve, a free
   piecewise-linear curve, or an inversion). Some renderings turn the dark ring between scalp and
   brain bright, as bone is in CT; some are blurred, given Poisson noise and blurred again, as
   reconstructed PET and SPECT are.
   A share of the slices is first smoothed along its own edges, by a guided filter (He et al. 2013,
   see `monai_ddfm.likelihoods.baselines`) of random strength: a steep curve would make structure of
   the scanner's noise.
3. *Composition*: two renderings of one slice are joined by maximum, by a constant share or by a
   smooth random field of shares. That is what fused pictures look like.
4. A multiplicative bias field, slight blur, rarely slight noise.

Resampling takes the finest texture away, so that a prior trained on views alone would not know
slices as they come from a scanner. Some batches are therefore *plain*: crops of the slices as they
were acquired, turned by quarters and mirrored only, and a share of them in their own contrast.

All steps are tensor operations on the batch's own device and draw from torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.baselines import guided_filter
from monai_ddfm.training.options import check_share
from monai_ddfm.training.views import head_and_bone, plain_view, random_view

__all__ = ["SliceAugmenter", "gaussian_blur", "random_render"]

_CURVE_KNOTS = 7
# What varies less than such a deviation within such a window, of values in [0, 1], is smoothed.
_SMOOTHING_RADIUS = 2
_SMOOTHING_DEVIATIONS = (0.02, 0.1)


class SliceAugmenter:
    """Turns a batch of plain slices into a batch of training pictures.

    Args:
        sizes: sides in pixels, one is drawn per batch; each a multiple of the network's divisor.
        pixels_per_batch: at large sizes only so many pictures are kept that their pixels do not
            exceed this, so that every batch costs about the same.
        pixel_mm: range of the pixel size of a picture.
        plain_share: share of the batches that are plain.
        own_share: share of the pictures of plain batches that keep their own contrast.
        smooth_share: share of the pictures of random contrast that are smoothed before.

    Raises:
        InputError: if a size is odd or not positive, or there is none, or a share is not
            from 0 to 1.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (64, 96, 128, 128, 160, 192, 256),
        pixels_per_batch: int = 16 * 128 * 128,
        pixel_mm: tuple[float, float] = (0.8, 2.5),
        plain_share: float = 0.0,
        own_share: float = 0.5,
        smooth_share: float = 0.5,
    ) -> None:
        check_share("plain_share", plain_share)
        check_share("own_share", own_share)
        check_share("smooth_share", smooth_share)
        if not sizes or any(not isinstance(n, int) or n < 2 or n % 2 for n in sizes):
            raise InputError(f"picture sizes {list(sizes)} are unusable; give even numbers")
        self.sizes = tuple(sizes)
        self.pixels_per_batch = pixels_per_batch
        self.pixel_mm = pixel_mm
        self.plain_share = plain_share
        self.own_share = own_share
        self.smooth_share = smooth_share

    def __call__(
        self, slices: Tensor, pixel_mm: Tensor, detail_mm: Tensor, *, plain: Tensor | None = None
    ) -> Tensor:
        """Augment a batch.

        Args:
            slices: [N, 1, H, W] in [0, 1].
            pixel_mm: [N], pixel size of the slices in mm.
            detail_mm: [N], pixel size in mm at which the slices were acquired.
            plain: the slices as they were acquired, in the middle of [N, 1, H, W]; needed if
                there are plain batches.

        Returns:
            Pictures [n, 1, S, S] in [-1, 1] with n <= N; empty background is -1 exactly.
        """
        size = self.sizes[int(torch.randint(len(self.sizes), ()))]
        count = max(1, min(slices.shape[0], self.pixels_per_batch // size**2))
        if plain is not None and float(torch.rand(())) < self.plain_share:
            return self._plain(plain, pixel_mm * slices.shape[-1] / detail_mm, size=size)
        view = random_view(
            slices[:count],
            pixel_mm[:count],
            detail_mm[:count],
            size=size,
            pixel_range=self.pixel_mm,
        )
        return _slight_degradation(self._contrasted(view)).clamp(0, 1) * 2 - 1

    def _plain(self, plain: Tensor, sides: Tensor, *, size: int) -> Tensor:
        """Plain pictures of the drawn size, or of the largest that the slices fill."""
        widest = min(float(sides.max()), plain.shape[-1])
        size = max((fits for fits in self.sizes if fits <= min(size, widest)), default=0)
        if size == 0:
            raise InputError(
                f"slices of {widest:.0f} pixels are smaller than any of the picture sizes "
                f"{list(self.sizes)}; add a smaller one, or set plain_share to 0"
            )
        count = max(1, min(len(plain), self.pixels_per_batch // size**2))
        view = plain_view(plain[:count], sides[:count], size=size)
        own = _chance(len(view), self.own_share, device=view.device)
        return torch.where(own, view, self._contrasted(view)) * 2 - 1

    def _contrasted(self, view: Tensor) -> Tensor:
        """Smooth or not, render twice, compose and shade, [N, 1, H, W] in [0, 1]."""
        masks = head_and_bone(view)
        view = torch.where(
            _chance(len(view), self.smooth_share, device=view.device), _smoothed(view), view
        )
        picture = _compose(random_render(view, *masks), random_render(view, *masks))
        return (picture * _bias_field(picture)).clamp(0, 1)


def random_render(view: Tensor, head: Tensor, bone: Tensor) -> Tensor:
    """Give each view a random contrast, see the module's second step.

    Args:
        view: [N, 1, H, W] in [0, 1].
        head: soft mask of the head, same shape.
        bone: soft mask of bone, same shape.

    Returns:
        Renderings [N, 1, H, W] in [0, 1].
    """
    count, device = view.shape[0], view.device
    gain = 0.8 + 0.8 * _uniform(count, device=device)
    tissue = _apply_curve((view * gain).clamp(0, 1), _random_curves(count, device=device))
    level = torch.where(_chance(count, 0.9, device=device), 0.0, _uniform(count, device=device))
    rendering = head * tissue + (1 - head) * level

    brain = head * (0.1 + 0.4 * _uniform(count, device=device)) * (0.7 + 0.3 * tissue)
    # Over 1 is cut, as the window of a CT does with bone.
    window = 0.7 + 0.6 * _uniform(count, device=device)
    tomogram = torch.maximum(brain, (bone * window).clamp(max=1))
    rendering = torch.where(_chance(count, 0.3, device=device), tomogram, rendering)

    chosen = torch.rand(count, device=device) < 0.25
    if chosen.any():
        rendering[chosen] = _emission(rendering[chosen])
    return rendering


def gaussian_blur(images: Tensor, sigma: Tensor, *, radius: int = 8) -> Tensor:
    """Blur each image by its own Gaussian.

    Args:
        images: [N, 1, H, W].
        sigma: [N], standard deviations in pixels; 0 leaves an image as it is.
        radius: half width of the truncated kernel in pixels.

    Returns:
        Blurred images [N, 1, H, W]; the border is repeated outwards.
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    count = images.shape[0]
    stacked = functional.pad(images.transpose(0, 1), [radius] * 4, mode="replicate")
    stacked = functional.conv2d(stacked, kernel[:, None, None, :], groups=count)
    stacked = functional.conv2d(stacked, kernel[:, None, :, None], groups=count)
    return stacked.transpose(0, 1)


def _smoothed(view: Tensor) -> Tensor:
    """Smooth each view [N, 1, H, W] in [0, 1] along its own edges, with a strength of its own."""
    low, high = (math.log(deviation) for deviation in _SMOOTHING_DEVIATIONS)
    deviation = torch.exp(low + (high - low) * _uniform(len(view), device=view.device))
    smooth = guided_filter(view, view, radius=_SMOOTHING_RADIUS, epsilon=deviation.square())
    return smooth.clamp(0, 1)


def _uniform(count: int, *, device: torch.device) -> Tensor:
    return torch.rand(count, 1, 1, 1, device=device)


def _chance(count: int, probability: float, *, device: torch.device) -> Tensor:
    return _uniform(count, device=device) < probability


def _random_curves(count: int, *, device: torch.device) -> Tensor:
    """Random grey-value curves [N, K] in [0, 1], tabulated at K equidistant knots."""
    knots = torch.linspace(0, 1, _CURVE_KNOTS, device=device).expand(count, -1)
    gamma = knots ** torch.exp(1.6 * (torch.rand(count, 1, device=device) - 0.5))
    free = torch.rand(count, _CURVE_KNOTS, device=device)
    monotone = free.sort(dim=1).values
    inverted = 1 - gamma
    kind = torch.rand(count, 1, device=device)
    curves = torch.where(kind < 0.4, gamma, monotone)
    curves = torch.where(kind > 0.6, inverted, curves)
    return torch.where(kind > 0.75, free, curves)


def _apply_curve(images: Tensor, curves: Tensor) -> Tensor:
    """Look each pixel up in its image's curve, with linear interpolation."""
    position = images * (_CURVE_KNOTS - 1)
    left = position.floor().clamp(max=_CURVE_KNOTS - 2)
    flat = left.long().flatten(1)
    low = curves.gather(1, flat).view_as(images)
    high = curves.gather(1, flat + 1).view_as(images)
    return low + (position - left) * (high - low)


def _emission(rendering: Tensor) -> Tensor:
    """Blur, count and blur again, as an emission tomograph does."""
    count, device = rendering.shape[0], rendering.device
    sigma = 0.8 + 2.2 * torch.rand(count, device=device)
    blurred = gaussian_blur(rendering, sigma).clamp(min=0)
    counts = torch.exp(math.log(20) + 4 * _uniform(count, device=device))
    return gaussian_blur(torch.poisson(blurred * counts) / counts, 0.5 * sigma + 0.4).clamp(0, 1)


def _compose(first: Tensor, second: Tensor) -> Tensor:
    """Keep one rendering, or join two by maximum, constant shares or a field of shares."""
    count, device = first.shape[0], first.device
    kind = _uniform(count, device=device)
    coarse = torch.rand(count, 1, 5, 5, device=device)
    field = functional.interpolate(coarse, first.shape[-2:], mode="bicubic").clamp(0, 1)
    share = torch.where(kind < 0.7, _uniform(count, device=device), field)
    joined = share * first + (1 - share) * second
    joined = torch.where(kind < 0.6, torch.maximum(first, second), joined)
    return torch.where(kind < 0.45, first, joined)


def _bias_field(images: Tensor) -> Tensor:
    """Smooth positive field, one for two images in three, exp of a random bicubic surface else."""
    count, device = images.shape[0], images.device
    coarse = 0.35 * torch.randn(count, 1, 3, 3, device=device)
    field = functional.interpolate(coarse, images.shape[-2:], mode="bicubic").exp()
    return torch.where(_chance(count, 0.33, device=device), field, torch.ones_like(field))


def _slight_degradation(images: Tensor) -> Tensor:
    """Blur one image in four by up to a pixel; give one in twelve slight Rician noise."""
    count, device = images.shape[0], images.device
    sigma = torch.rand(count, device=device)
    blurred = gaussian_blur(images, sigma, radius=4)
    images = torch.where(_chance(count, 0.25, device=device), blurred, images)
    level = 0.03 * _uniform(count, device=device)
    noisy = torch.hypot(images + level * torch.randn_like(images), level * torch.randn_like(images))
    return torch.where(_chance(count, 1 / 12, device=device), noisy, images)
