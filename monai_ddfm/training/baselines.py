"""Classical denoisers, tuned in their own favour, for a prior to be measured against.

Images are [N, H, W] float32 in [-1, 1] plus noise of known standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_ddfm.errors import InputError

__all__ = [
    "Baseline",
    "Images",
    "baselines",
    "head_masks",
    "psnr_inside",
    "tuned",
]

Images = NDArray[np.float32]
Denoiser = Callable[[Images, float, float], Images]
"""Images, sigma of their noise and a strength -> estimates."""


@dataclass(frozen=True)
class Baseline:
    """A denoiser with one strength to choose.

    Attributes:
        denoise: called with images, the noise's standard deviation and a strength.
        strengths: what to choose from.
        unit: what the strength is.
    """

    denoise: Denoiser
    strengths: tuple[float, ...]
    unit: str


def baselines() -> Mapping[str, Baseline]:
    """Return the baselines by name.

    "gaussian" is a Gaussian filter (strength: its standard deviation in pixels), "non_local_means"
    that of Buades et al. (2005) as in scikit-image (strength: its h over the noise's sigma, 5 x 5
    patches searched within 6 pixels).
    """
    return {
        "identity": Baseline(lambda images, _sigma, _strength: images, (0.0,), "none"),
        "gaussian": Baseline(_gaussian, tuple(width / 10 for width in range(3, 31)), "pixels"),
        "non_local_means": Baseline(_non_local_means, (0.4, 0.55, 0.7, 0.85, 1.0), "h / sigma"),
    }


def tuned(
    baseline: Baseline, noisy: Images, clean: Images, masks: NDArray[np.bool_], *, sigma: float
) -> float:
    """Return the strength of the best mean PSNR inside the head.

    Args:
        baseline: the denoiser.
        noisy: images [N, H, W] to try it on.
        clean: the same without noise.
        masks: heads, [N, H, W].
        sigma: standard deviation of the noise.
    """
    if len(baseline.strengths) == 1:
        return baseline.strengths[0]
    scores = [
        psnr_inside(baseline.denoise(noisy, sigma, strength), clean, masks).mean()
        for strength in baseline.strengths
    ]
    return float(baseline.strengths[int(np.argmax(scores))])


def psnr_inside(estimates: Images, clean: Images, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio inside each head.

    Args:
        estimates: [N, H, W]; they are clipped to [-1, 1] first.
        clean: [N, H, W] in [-1, 1].
        masks: heads, [N, H, W], none empty.

    Returns:
        PSNR in dB, [N]; peak-to-peak 2.
    """
    squares = (np.clip(estimates, -1, 1).astype(np.float64) - clean) ** 2
    inside = np.where(masks, squares, 0).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))
    result: NDArray[np.float64] = 10 * np.log10(4 / np.maximum(inside, 1e-12))
    return result


def head_masks(clean: Images, *, threshold: float = -0.85) -> NDArray[np.bool_]:
    """Segment heads on dark background: the largest bright object, gaps closed and holes filled.

    Args:
        clean: [N, H, W] in [-1, 1].
        threshold: grey value above which a pixel is tissue.

    Returns:
        Masks [N, H, W]; all of a picture in which nothing is bright.
    """
    return np.stack([_head_mask(image, threshold) for image in clean])


def _head_mask(image: Images, threshold: float) -> NDArray[np.bool_]:
    closed = ndimage.binary_closing(np.pad(image, 8, mode="edge") > threshold, iterations=4)
    filled = ndimage.binary_fill_holes(closed)[8:-8, 8:-8]
    labels, count = ndimage.label(filled)
    if count == 0:
        return np.ones_like(image, dtype=bool)
    mask: NDArray[np.bool_] = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return mask


def _gaussian(images: Images, sigma: float, strength: float) -> Images:  # noqa: ARG001
    blurred: Images = ndimage.gaussian_filter(images, (0, strength, strength), mode="nearest")
    return blurred


def _non_local_means(images: Images, sigma: float, strength: float) -> Images:
    try:
        from skimage.restoration import denoise_nl_means  # noqa: PLC0415 - optional
    except ImportError as error:
        raise InputError(
            "non-local means need scikit-image; run `pip install scikit-image`"
        ) from error
    options: Mapping[str, int | bool] = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
    denoised: Sequence[Images] = [
        denoise_nl_means(image, h=strength * sigma, sigma=sigma, **options) for image in images
    ]
    return np.stack(denoised)
