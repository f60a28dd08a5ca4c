r"""Noise whose strength depends on the signal, and the scale on which it does not.

Counts (PET, SPECT) are the noisier the brighter a place is; magnitude images are a little. To first
order the variance is linear in the signal u, on values from 0 to 1 [1]:

.. math::

    \sigma^2(u) = a + b\,u .

**Stabilization.** A diffusion prior removes noise of one deviation at a time. On the scale

.. math::

    g(u) = \frac{\sqrt{a + b u} - \sqrt a}{\sqrt{a + b} - \sqrt a}, \qquad
    g^{-1}(y) = \frac{(\sqrt a + y\,(\sqrt{a + b} - \sqrt a))^2 - a}{b}

the noise has, to first order, the same deviation :math:`\sigma_g = g'(u)\,\sigma(u) =
\tfrac b2 / (\sqrt{a + b} - \sqrt a)` everywhere (Anscombe's idea [2]). For :math:`b \to 0` it is
the scale of u itself.

**Clipping.** Sources end at 0 and 1. There their noise has one side only, and what a denoiser finds
is not the signal u but the mean of the clipped values [1],

.. math::

    E(u) = \mathbb E\,\min(\max(u + \sigma(u) n, 0), 1) = u\,(\Phi_1 - \Phi_0) + (1 - \Phi_1) +
    \sigma(u)\,(\varphi_0 - \varphi_1),

n being normal, :math:`\Phi_0, \varphi_0` and :math:`\Phi_1, \varphi_1` its distribution and density
at :math:`-u / \sigma(u)` and at :math:`(1 - u) / \sigma(u)`. Its inverse makes bone white again.

**Magnitudes.** Rician noise, that of the magnitude images of MRI, does not end at black: it lifts
what is dark. There the mean is [3]

.. math::

    E(u) = \sigma \sqrt{\tfrac{\pi}{2}}\; e^{-z} \left((1 + 2 z)\,I_0(z) + 2 z\,I_1(z)\right),
    \qquad z = \frac{u^2}{4 \sigma^2},

with the modified Bessel functions I; towards white it is clipped as above. Its inverse makes what
is dark dark again.

**Estimation.** In windows the mean and the variance of the noise are known (`noise_level`). Windows
are grouped by their means; in each group the smoothest ones give a variance; a line is laid through
these, weighted by their own relative precision. Noise is of magnitudes where the background says so
(`noise_level.has_noise_floor`); windows near its floor are left out then.

References:
    [1] A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, Practical Poissonian-Gaussian noise
        modeling and fitting for single-image raw-data, IEEE Transactions on Image Processing 17
        (2008); A. Foi, Clipped noisy images, Signal Processing 89 (2009).
    [2] F. J. Anscombe, The transformation of Poisson, binomial and negative-binomial data,
        Biometrika 35 (1948).
    [3] H. Gudbjartsson, S. Patz, The Rician distribution of noisy MRI data, Magnetic Resonance in
        Medicine 34 (1995).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.noise_level import Windows, has_noise_floor, smooth_windows
from monai_ddfm.utils.uploads import upload

__all__ = ["END_OF_RANGE", "NoiseModel", "line_through", "noise_model", "noisier"]

END_OF_RANGE: Final = 0.99
"""Beyond it, within about one gray level of 255, values in [-1, 1] count as black or white."""

_GROUPS: Final = 6
_FEWEST_IN_GROUP: Final = 20
_ROUNDS: Final = 5
# Mean and deviation of noise of deviation 1 at a signal of 0: cut off there, or Rayleigh's.
_OF_CLIPPED: Final = (math.sqrt(0.5 / math.pi), math.sqrt(0.5 - 0.5 / math.pi))
_OF_MAGNITUDES: Final = (math.sqrt(math.pi / 2), math.sqrt(2 - math.pi / 2))
_TABLE: Final = 2049
# Counts of nothing have no noise, but a scale with an infinite slope at black helps nobody.
_LEAST_CONSTANT: Final = 0.02
# Deviations over which the mean of magnitudes is that of their signal, but for a sixth of one.
_CLEAR_OF_THE_FLOOR: Final = 3.0
_BRIGHT: Final = 0.15


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Variance ``constant + slope * u`` of the noise at signal u, on values in [0, 1].

    Images are on the scale from -1 to 1 in all methods.

    Attributes:
        constant: a, not below 0.
        slope: b, not below 0.
        magnitudes: whether the noise is Rician.

    Raises:
        InputError: if one is negative or not a number.
    """

    constant: float
    slope: float = 0.0
    magnitudes: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.constant < math.inf and 0 <= self.slope < math.inf):
            raise InputError(
                f"noise of variance {self.constant:g} + {self.slope:g} u is unusable; "
                "give numbers that are not negative."
            )

    @classmethod
    def white(cls, level: float) -> NoiseModel:
        """Return noise of one deviation, given on the scale from -1 to 1."""
        return cls((level / 2) ** 2)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> NoiseModel:
        """Return what `described` has described."""
        black, white = (float(described[f"at_{end}"]) / 2 for end in ("black", "white"))
        return cls(black**2, max(white**2 - black**2, 0.0), described["kind"] == "Rician")

    @property
    def level(self) -> float:
        """Deviation of the noise after `stabilize`, on the scale from -1 to 1."""
        # b / (sqrt(a + b) - sqrt(a)), which a small b would cancel.
        return math.sqrt(self.constant + self.slope) + math.sqrt(self.constant)

    @property
    def at_black(self) -> tuple[float, float]:
        """Mean above black, and deviation, of the noisy values there, on the scale from -1 to 1."""
        mean, deviation = _OF_MAGNITUDES if self.magnitudes else _OF_CLIPPED
        return tuple(2 * math.sqrt(self.constant) * part for part in (mean, deviation))  # type: ignore[return-value]

    def deviation(self, images: Tensor) -> Tensor:
        """Return the noise's standard deviation at signals in [-1, 1], on the same scale."""
        return 2 * (self.constant + self.slope * (images + 1) / 2).clamp_min(0).sqrt()

    @property
    def largest_deviation(self) -> float:
        """Deviation of the noise at white, on the scale from -1 to 1."""
        return 2 * math.sqrt(self.constant + self.slope)

    def described(self) -> dict[str, float | str]:
        """Return kind and deviations for a record: stabilized, at black, and at white."""
        return {
            "kind": "Rician" if self.magnitudes else "normal",
            "level": self.level,
            "at_black": 2 * math.sqrt(self.constant),
            "at_white": 2 * math.sqrt(self.constant + self.slope),
            "scale": "luminance from -1 to 1",
        }

    def stabilize(self, images: Tensor) -> Tensor:
        """Return g of images in [-1, 1], where the noise is the same everywhere."""
        if self.slope == 0:
            return images
        root = (self.constant + self.slope * (images + 1) / 2).clamp_min(0).sqrt()
        # Not the difference of the roots, which a small slope would cancel; 0 / 0 is black.
        roots = (root + math.sqrt(self.constant)).clamp_min(torch.finfo(root.dtype).tiny)
        scaled: Tensor = (images + 1) * self.level / roots - 1
        return scaled

    def restore(self, images: Tensor) -> Tensor:
        """Return the inverse of `stabilize`."""
        if self.slope == 0:
            return images
        risen = (images + 1) * (self.slope / (2 * self.level))
        return (images + 1) * (risen + 2 * math.sqrt(self.constant)) / self.level - 1

    def unclip(self, means: Tensor) -> Tensor:
        """Return the signal whose noisy values have the given means, both in [-1, 1]."""
        if self.constant + self.slope == 0:
            return means
        signal = torch.linspace(0, 1, _TABLE, dtype=torch.float64)
        tables = (self._mean_of(signal), signal)
        mean, signal = (upload(table, means.device, dtype=means.dtype) for table in tables)
        values = ((means + 1) / 2).clamp(mean[0], mean[-1])
        right = torch.searchsorted(mean, values.contiguous()).clamp(1, _TABLE - 1)
        low, high = mean[right - 1], mean[right]
        share = (values - low) / (high - low).clamp_min(torch.finfo(means.dtype).tiny)
        found: Tensor = torch.lerp(signal[right - 1], signal[right], share.clamp(0, 1)) * 2 - 1
        return found

    def _mean_of(self, signal: Tensor) -> Tensor:
        """Mean E of the noisy values of signals in [0, 1]."""
        deviation = (self.constant + self.slope * signal).clamp_min(1e-12).sqrt()
        above = (1 - signal) / deviation
        cdf_1, pdf_1 = torch.special.ndtr(above), _normal_density(above)
        if self.magnitudes:
            # Black and white are many deviations apart: where one end matters the other does not.
            mean = _rician_mean(signal, deviation)
            mean = mean + (signal - 1) * (cdf_1 - 1) - deviation * pdf_1
        else:
            below = -signal / deviation
            cdf_0, pdf_0 = torch.special.ndtr(below), _normal_density(below)
            mean = signal * (cdf_1 - cdf_0) + (1 - cdf_1) + deviation * (pdf_0 - pdf_1)
        rising: Tensor = mean.cummax(0).values
        return rising


def _normal_density(at: Tensor) -> Tensor:
    density: Tensor = torch.exp(-0.5 * at.square()) / math.sqrt(2 * math.pi)
    return density


def _rician_mean(signal: Tensor, deviation: Tensor) -> Tensor:
    z = (signal / deviation).square() / 4
    bessel = (1 + 2 * z) * torch.special.i0e(z) + 2 * z * torch.special.i1e(z)
    mean: Tensor = deviation * math.sqrt(math.pi / 2) * bessel
    return mean


def noisier(noises: Sequence[NoiseModel]) -> NoiseModel:
    """Return the noise of the noisiest source: by choosing, a mode hides some of it."""
    return max(noises, key=lambda model: model.level)


def noise_model(images: Tensor) -> NoiseModel:
    """Estimate how the noise that all given images share depends on the signal.

    Args:
        images: [N, 1, H, W] in [-1, 1], -1 being background; the slices of one volume, say.

    Returns:
        The model; without slope where too few windows tell, or the noise does not grow with the
        signal.

    Raises:
        InputError: if `images` has another shape.
    """
    windows = smooth_windows(images)
    level, magnitudes = windows.level, False
    if level:
        bright = smooth_windows(images, above=max(_BRIGHT, _CLEAR_OF_THE_FLOOR * level / 2))
        magnitudes = has_noise_floor(images, level=bright.level)
        windows = bright if magnitudes else windows
    return _fitted(windows, magnitudes=magnitudes)


def _fitted(windows: Windows, *, magnitudes: bool) -> NoiseModel:
    """The model that the windows of one kind of noise tell."""
    flat = replace(NoiseModel.white(windows.level), magnitudes=magnitudes)
    count = len(windows.means)
    groups = min(_GROUPS, count // _FEWEST_IN_GROUP)
    if groups < 2:
        return flat
    order = windows.means.argsort()
    points = []
    for part in order.tensor_split(groups):
        group = Windows(windows.means[part], windows.variances[part])
        points.append((float(group.means.mean()), (group.level / 2) ** 2))
    constant, slope = line_through(points)
    if slope == 0:
        return flat
    middle = sum(mean for mean, _ in points) / groups
    constant = max(constant, _LEAST_CONSTANT * (constant + slope * middle))
    return NoiseModel(constant, slope, magnitudes)


def line_through(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Non-negative a and b of variances a + b m, each with the same relative error."""
    means, variances = np.array(points).T
    design = np.stack([np.ones_like(means), means], axis=1)
    line = np.array([variances.mean(), 0.0])
    for _ in range(_ROUNDS):
        expected = np.maximum(design @ line, 1e-12)
        line, _ = nnls(design / expected[:, None], variances / expected)
    return float(line[0]), float(line[1])
