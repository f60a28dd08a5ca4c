r"""The noise of a whole scan, with its grain, so that it can be drawn anew.

What makes a fusion uncertain is all noise that a scan shows, also the smooth noise of reconstructed
PET, which counts as image elsewhere (`monai_ddfm.likelihoods.noise_level`). As a model serves white
noise blurred by a Gaussian of :math:`c_k` voxels along axis k, whose variance at a signal u, 0 at
black and 1 at white of the scan, is linear,

.. math::

    n = \sqrt{a + b\,u}\; \frac{G_c * w}{\lVert G_c \rVert}, \qquad w \sim N(0, 1) .

It is measured where images are smooth, by corners: second differences along all axes at once,
:math:`h = (1, -2, 1) / \sqrt 6` in each, remove what is linear along any of them. Of that noise
they pass along one axis, with :math:`h_d` whose three voxels are d apart,

.. math::

    q_d(c) = \lVert h_d * G_c \rVert^2 / \lVert G_c \rVert^2 ,

1 for white noise. The mean square :math:`V` of the corners and that :math:`V_k` of corners that are
twice as wide along axis k give :math:`q_2(c_k) / q_1(c_k) = V_k / V`, so :math:`c_k`; and

.. math::

    a + b\,u = V / \prod_k q_1(c_k) .

Smooth places are chosen by the slope of the blurred image, not by their corners: the smallest of
several measured noises would be too small. The steeper half of all places is left out, or gray
levels that only edges have would be measured there; of the rest, the smoothest of every gray level
are taken. Where everything has texture, some of it passes for
noise, and a scan looks noisier than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from monai_ddfm.likelihoods.noise_model import line_through

__all__ = ["ScanNoise", "scan_noise"]

Array = NDArray[np.float32]

_CORNER: Final = np.array([1.0, -2.0, 1.0]) / np.sqrt(6)
_WIDE: Final = np.array([1.0, 0.0, -2.0, 0.0, 1.0]) / np.sqrt(6)
_WINDOW: Final = 5
_STRIDE: Final = 2
_SHORTEST: Final = 7  # axis along which corners are taken
_TISSUE: Final = 0.06
_EDGE_OF_RANGE: Final = 0.02
_SMOOTH_SHARE: Final = 0.2  # of the smoother half
_GROUPS: Final = 6
_FEWEST: Final = 20
_COARSEST_GRAIN: Final = 1.5
_MOST_VOXELS: Final = 2**22


@dataclass(frozen=True, kw_only=True)
class ScanNoise:
    """Noise of a scan in its own units.

    Attributes:
        constant: a, in shares of `span`, squared.
        slope: b, likewise.
        grain: c in voxels, for each axis of [H, W, D].
        low: black of the scan.
        span: from black to white.
    """

    constant: float
    slope: float
    grain: tuple[float, ...]
    low: float
    span: float

    def deviation(self, values: torch.Tensor) -> torch.Tensor:
        """Return the standard deviation of the noise at given values, in their units."""
        share = ((values - self.low) / self.span).clamp(0, 1)
        return self.span * (self.constant + self.slope * share).clamp_min(0).sqrt()

    def drawn(self, volume: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Draw noise for a scan [C, H, W, D]; the same in all channels but for its strength."""
        white = generator.standard_normal(volume.shape[1:], dtype=np.float32)
        strength = 1.0
        for axis, grain in enumerate(self.grain):
            if grain > 0:
                white = ndimage.gaussian_filter1d(white, grain, axis=axis, mode="wrap")
                strength *= float(np.linalg.norm(_pulse(grain)))
        noise = torch.from_numpy(np.ascontiguousarray(white / np.float32(strength)))
        return self.deviation(volume) * noise.to(volume)

    def described(self) -> dict[str, Any]:
        """Return what goes into the record."""
        ends = (self.constant, self.constant + self.slope)
        black, white = (self.span * float(np.sqrt(variance)) for variance in ends)
        return {
            "at_black": black,
            "at_white": white,
            "black": self.low,
            "white": self.low + self.span,
            "grain_voxels": [round(c, 3) for c in self.grain],
        }


def scan_noise(volume: torch.Tensor) -> ScanNoise:
    """Measure the noise of a scan.

    Args:
        volume: [H, W, D] in any units; of a large one the middle is looked at.

    Returns:
        The noise; none where too little of the scan is tissue.
    """
    values = _middle(np.asarray(volume.detach().cpu(), dtype=np.float32))
    low, high = (float(end) for end in np.percentile(values, [0.5, 99.9]))
    span = max(high - low, 1e-12)
    axes = tuple(axis for axis, side in enumerate(values.shape) if side >= _SHORTEST)
    quiet = ScanNoise(constant=0.0, slope=0.0, grain=(0.0,) * values.ndim, low=low, span=span)
    if not axes:
        return quiet
    unit = np.clip((values - low) / np.float32(span), 0, 1)
    means, smooth, corners = _windows(unit, axes)
    if len(means) < _FEWEST:
        return quiet
    smoother = np.argsort(smooth, kind="stable")[: len(smooth) // 2]
    order = smoother[np.argsort(means[smoother], kind="stable")]
    parts = np.array_split(order, max(1, min(_GROUPS, len(order) // (4 * _FEWEST))))
    chosen = [
        part[np.argsort(smooth[part], kind="stable")[: max(1, int(_SMOOTH_SHARE * len(part)))]]
        for part in parts
    ]
    calm = np.concatenate(chosen)
    plain, *wide = (float(np.median(c[calm])) for c in corners)
    if plain <= 0:
        return quiet
    grain = [0.0] * values.ndim
    for axis, energy in zip(axes, wide, strict=True):
        grain[axis] = _grain(energy / plain)
    passed = float(np.prod([_corner_share(grain[axis]) for axis in axes]))
    points = [
        (float(means[part].mean()), float(np.median(corners[0][part])) / passed) for part in chosen
    ]
    constant, slope = line_through(points) if len(points) > 1 else (points[0][1], 0.0)
    return ScanNoise(constant=constant, slope=slope, grain=tuple(grain), low=low, span=span)


def _windows(unit: Array, axes: tuple[int, ...]) -> tuple[Array, Array, list[Array]]:
    """Return of every window of tissue its mean, its slope, and its corners' mean squares, [K]."""
    every = tuple(
        slice(min(_WINDOW, (side - 1) // 2), side - min(_WINDOW, (side - 1) // 2), _STRIDE)
        if axis in axes
        else slice(None)
        for axis, side in enumerate(unit.shape)
    )
    size = tuple(_WINDOW if axis in axes else 1 for axis in range(unit.ndim))

    def mean_of(part: Array) -> Array:
        found: Array = ndimage.uniform_filter(part, size)[every].ravel()
        return found

    inside = (unit > _EDGE_OF_RANGE) & (unit < 1 - _EDGE_OF_RANGE)
    mean = mean_of(unit)
    telling = (mean > _TISSUE) & (mean_of(inside.astype(np.float32)) > 1 - 0.5 / _WINDOW**3)
    blurred = ndimage.gaussian_filter(unit, [1.0 if axis in axes else 0.0 for axis in range(3)])
    slopes = np.zeros_like(unit)
    for axis in axes:
        slopes += np.gradient(blurred, axis=axis) ** 2
    corners = []
    for wide in (None, *axes):
        rough = unit
        for axis in axes:
            mask = _WIDE if axis == wide else _CORNER
            rough = ndimage.correlate1d(rough, mask, axis=axis, mode="nearest")
        corners.append(mean_of(rough**2)[telling])
    return mean[telling], mean_of(slopes)[telling], corners


def _corner_share(grain: float, mask: NDArray[np.float64] = _CORNER) -> float:
    """Return q(c), what corners pass along one axis."""
    pulse = _pulse(grain)
    return float(np.square(np.convolve(pulse, mask)).sum() / np.square(pulse).sum())


def _grain(ratio: float) -> float:
    """Return the c at which corners twice as wide pass so many times as much."""
    grains = np.linspace(0.2, _COARSEST_GRAIN, 131)
    ratios = np.array([_corner_share(c, _WIDE) / _corner_share(c) for c in grains])
    return 0.0 if ratio <= ratios[0] else float(np.interp(ratio, ratios, grains))


def _pulse(grain: float) -> NDArray[np.float64]:
    """Return the Gaussian as the filter has it."""
    pulse = np.zeros(2 * int(4 * grain + 0.5) + 1)
    pulse[len(pulse) // 2] = 1.0
    if grain > 0:
        pulse = ndimage.gaussian_filter1d(pulse, grain, mode="constant")
    return np.asarray(pulse)


def _middle(values: Array) -> Array:
    share = min(1.0, (_MOST_VOXELS / values.size) ** (1 / values.ndim))
    sides = [max(min(side, _SHORTEST), int(side * share)) for side in values.shape]
    starts = [(side - kept) // 2 for side, kept in zip(values.shape, sides, strict=True)]
    return values[tuple(slice(s, s + n) for s, n in zip(starts, sides, strict=True))]
