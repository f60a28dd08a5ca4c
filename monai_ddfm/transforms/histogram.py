r"""The monotone map from a volume's intensities to [-1, 1].

A window names two intensities, black :math:`a` and white :math:`b`. Its map is

.. math::
    y = \operatorname{clip}\Big(\frac{x - m}{h},\,-1,\,1\Big),\qquad
    m = \frac{a + b}{2},\quad h = \frac{b - a}{2}

and the inverse :math:`x = m + h\,y` restores every intensity that was not clipped. Some maps have
more than one straight piece: the CT windows "fusion" and "body", and the landmarks of Nyul and
Udupa [1], which send the percentiles of a volume to those of a standard histogram.

Black of an MRI is :math:`\operatorname{median} + 3 \cdot 1.4826 \operatorname{MAD}` of the air
around the head, so that its noise becomes an even -1. Percentiles are taken inside the head, so
that they do not depend on how much air the field of view holds, and on at most 128 voxels per axis,
which a few strides reach and no percentile notices.

References:
    [1] Nyul, Udupa: On standardizing the MR image intensity scale. Magn Reson Med 42 (1999) 1072.
    [2] Otsu: A threshold selection method from gray-level histograms. IEEE SMC 9 (1979) 62.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.body_outline import Region, body_mask
from monai_ddfm.transforms.windows import KNOTS, Window, parse_window

__all__ = [
    "NYUL_PERCENTILES",
    "IntensityMap",
    "check_landmarks",
    "fit_map",
    "head_mask",
    "learn_landmarks",
    "outline_mask",
]

NYUL_PERCENTILES: Final = tuple(float(p) for p in range(10, 100, 10))
"""Percentiles of the inner landmarks; the outer two are the ends of the window."""

_MOST_PER_AXIS: Final = 128
_DARK: Final = 0.25  # of the median of the head: what air stays below

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class IntensityMap:
    """A continuous, increasing, piecewise linear map from intensities to [-1, 1].

    Attributes:
        knots: intensities, strictly increasing.
        values: where they go, strictly increasing from -1 to 1.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...] = (-1.0, 1.0)

    @property
    def offset(self) -> float:
        """The middle of the window."""
        return (self.knots[0] + self.knots[-1]) / 2

    @property
    def scale(self) -> float:
        """Half of the width of the window."""
        return (self.knots[-1] - self.knots[0]) / 2

    def forward(self, intensities: torch.Tensor) -> torch.Tensor:
        """Map intensities to [-1, 1]; those outside of the window are clipped."""
        return _piecewise(intensities, self.knots, self.values).clamp_(-1, 1)

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """Map values in [-1, 1] back to intensities; the outer pieces go on beyond it."""
        return _piecewise(values, self.values, self.knots)


def fit_map(
    volume: torch.Tensor,
    window: Window,
    *,
    landmarks: Sequence[float] | None = None,
    reference_mask: torch.Tensor | None = None,
    region: Region = "head",
    name: str = "the volume",
) -> IntensityMap:
    """Find the map that a window makes for one volume.

    Args:
        volume: finite intensities [H, W] or [H, W, D] that are not all equal.
        window: from `parse_window`.
        landmarks: standard values of the ends of the window and of `NYUL_PERCENTILES` between
            them, from `learn_landmarks`.
        reference_mask: true in the reference region, of the shape of `volume`; needed for the
            window "cerebellum" only.
        region: inside of what percentiles are taken.
        name: how an error calls the volume, usually its file.

    Returns:
        The map. Where percentiles coincide because nearly all of the volume is empty, the smallest
        and the largest intensity take their place.

    Raises:
        InputError: if no intensity is inside the window, or the reference mask is missing or empty.
    """
    if window.spec in KNOTS:
        return IntensityMap(*KNOTS[window.spec])
    if window.reference:
        return _reference_map(volume, window, reference_mask, name)
    if not any(window.percents) and landmarks is None:
        return IntensityMap((window.lower, window.upper))
    head, air = _inside_and_air(volume, region)
    black, white = (
        _percentile(volume, head, end) if percent else end
        for end, percent in zip((window.lower, window.upper), window.percents, strict=True)
    )
    if window.from_air and air.size:
        black = _noise_ceiling(head, air)
    if not black < white:
        black = float(volume.min()) if window.percents[0] else black
        white = float(volume.max()) if window.percents[1] else white
    if not black < white:
        raise InputError(
            f"{name} has no intensity inside the window {window.spec!r}; choose another one."
        )
    if landmarks is None:
        return IntensityMap((black, white))
    return _landmark_map(black, white, head, landmarks)


def learn_landmarks(volumes: Iterable[torch.Tensor]) -> tuple[float, ...]:
    """Learn the standard histogram of Nyul and Udupa [1] from several MR volumes.

    Args:
        volumes: intensities [H, W] or [H, W, D] of one contrast, any units.

    Returns:
        Eleven values, strictly increasing from -1 to 1: where black, the 10th, 20th, ... 90th
        percentile inside the head and white go, by the default window of MR.

    Raises:
        InputError: if there is no volume, or their mean histogram is not strictly increasing.
    """
    window = parse_window(None, Modality.MR)
    rows = []
    for volume in volumes:
        ends = fit_map(volume, window)
        head, _ = _inside_and_air(volume, "head")
        rows.append(
            np.clip((np.percentile(head, NYUL_PERCENTILES) - ends.offset) / ends.scale, -1, 1)
        )
    if not rows:
        raise InputError("landmarks need at least one MR volume to be learned from.")
    return check_landmarks([-1.0, *np.mean(rows, axis=0).tolist(), 1.0])


def check_landmarks(landmarks: Sequence[float]) -> tuple[float, ...]:
    """Return the landmarks if they are a standard histogram.

    Args:
        landmarks: standard values of black, the `NYUL_PERCENTILES` and white.

    Returns:
        The same values.

    Raises:
        InputError: if they are not eleven values that rise strictly from -1 to 1.
    """
    whole = tuple(float(value) for value in landmarks)
    rising = all(first < second for first, second in pairwise(whole))
    if len(whole) != len(NYUL_PERCENTILES) + 2 or not rising or (whole[0], whole[-1]) != (-1, 1):
        raise InputError("landmarks must be 11 values that rise strictly from -1 to 1.")
    return whole


def head_mask(volume: Array) -> npt.NDArray[np.bool_]:
    """Find the head: what is brighter than Otsu's threshold [2], filled slice by slice.

    Args:
        volume: finite intensities [H, W] or [H, W, D], axial slices last.

    Returns:
        The mask. It is true everywhere if the rest does not look like air, as when the field of
        view lies inside the head.
    """
    everything = np.ones(volume.shape, dtype=bool)
    lowest, highest = np.percentile(volume, [0, 99.9])
    if not lowest < highest:
        lowest, highest = volume.min(), volume.max()
    if not lowest < highest:
        return everything
    levels = np.clip((volume - lowest) / (highest - lowest), 0, 1)
    bright = sitk.OtsuThreshold(sitk.GetImageFromArray(levels), 0, 1, 256)
    in_plane = ndimage.generate_binary_structure(volume.ndim, 1)
    if volume.ndim == 3:
        in_plane[:, :, [0, 2]] = False
    mask = ndimage.binary_fill_holes(sitk.GetArrayFromImage(bright) > 0, structure=in_plane)
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    if mask.all() or not mask.any():
        return everything
    # Air is dark in comparison with tissue; the darker half of a tissue contrast is not.
    looks_like_air = np.median(levels[~mask]) < _DARK * np.median(levels[mask])
    return np.asarray(mask) if looks_like_air else everything


def outline_mask(volume: Array, region: Region) -> npt.NDArray[np.bool_]:
    """Find what the volume shows: `head_mask`, or `body_mask`.

    Args:
        volume: finite intensities [H, W] or [H, W, D], axial slices last.
        region: "head" or "body".
    """
    return body_mask(volume) if region == "body" else head_mask(volume)


def _piecewise(
    source: torch.Tensor, knots: Sequence[float], values: Sequence[float]
) -> torch.Tensor:
    """Interpolate linearly between knots, as a sum of ramps; the outer pieces go on beyond."""
    result = torch.full_like(source, values[0])
    last = len(knots) - 2
    pieces = zip(pairwise(knots), pairwise(values), strict=True)
    for index, ((low, high), (start, end)) in enumerate(pieces):
        ramp = source - low
        if index > 0:
            ramp.clamp_(min=0)
        if index < last:
            ramp.clamp_(max=high - low)
        result.add_(ramp.mul_((end - start) / (high - low)))
    return result


def _inside_and_air(volume: torch.Tensor, region: Region) -> tuple[Array, Array]:
    """Return the intensities inside and outside, from a coarse lattice if the volume is large."""
    lattice = tuple(slice(None, None, -(-size // _MOST_PER_AXIS)) for size in volume.shape)
    coarse: Array = volume[lattice].detach().cpu().numpy().astype(np.float64)
    mask = outline_mask(coarse, region)
    return coarse[mask], coarse[~mask]


def _noise_ceiling(head: Array, air: Array) -> float:
    """Return where the noise of the air ends, but never what could be tissue."""
    middle = np.median(air)
    ceiling = middle + 3 * 1.4826 * np.median(np.abs(air - middle))
    darkest = min(air.min(), head.min())
    return float(min(ceiling, darkest + _DARK * (np.median(head) - darkest)))


def _percentile(volume: torch.Tensor, head: Array, percent: float) -> float:
    """Return a percentile inside the head; 0 and 100 are those of every voxel."""
    if percent in (0, 100):
        return float(volume.min() if percent == 0 else volume.max())
    return float(np.percentile(head, percent))


def _reference_map(
    volume: torch.Tensor, window: Window, mask: torch.Tensor | None, name: str
) -> IntensityMap:
    """Return the map from zero to a multiple of the mean inside the mask."""
    if mask is None:
        raise InputError(
            f"{name} needs a mask of the reference region for the window {window.spec!r}; "
            "give one with --reference-mask or choose the window 'maximum'."
        )
    inside = volume[mask.reshape(volume.shape).to(volume.device) > 0]
    mean = float(inside.double().mean()) if inside.numel() else 0.0
    if mean <= 0:
        raise InputError(
            f"{name} has no uptake inside the mask of the reference region; mend the mask or "
            "choose the window 'maximum'."
        )
    return IntensityMap((0.0, window.upper * mean))


def _landmark_map(
    black: float, white: float, head: Array, landmarks: Sequence[float]
) -> IntensityMap:
    """Return the map that sends the head's percentiles to the landmarks."""
    knots, values = [black], [landmarks[0]]
    # Equal percentiles would make a step; the straight piece runs past them instead.
    least = 1e-4 * (white - black)
    inner = np.percentile(head, NYUL_PERCENTILES).tolist()
    for knot, value in zip(inner, landmarks[1:-1], strict=True):
        if knots[-1] + least < knot < white - least:
            knots.append(knot)
            values.append(value)
    return IntensityMap((*knots, white), (*values, landmarks[-1]))
