r"""One source freed of its noise: the diffusion prior's say about what the source shows.

The source y shows a clean image through noise of standard deviation :math:`\sigma`. The prior's
estimate :math:`x_0` is free of that noise, but has an error of its own, of about :math:`\sigma_0`.
Of two estimates with errors of these sizes the best mixture is

.. math::

    \hat s = (1 - k)\,y + k\,x_0, \qquad k = \frac{\sigma^2}{\sigma^2 + \sigma_0^2} .

Noise that grows with the signal, and noise at the ends of the range, are no noise of one deviation.
So sampling runs on the scale g of a measured noise model (`monai_ddfm.likelihoods.noise_model`), on
which they are, and what the prior predicts there is brought back by :math:`g^{-1}`. It is the mean
E of the noisy values. The signal behind it is free of the bias of noise, which clipping and
magnitudes have, and the source differs from it by what it differs from its mean:

.. math::

    \hat s = E^{-1}(x_0) + (1 - k)\,(y - x_0) .

With magnitudes sampling goes on with the mean, and the bias is taken off at the last step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers.luminance import (
    Luminance,
    at_least_float32,
    luminance_of,
    split_sources,
    with_luminance,
)
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified

__all__ = ["EstimateRectifier"]


@dataclass(frozen=True, kw_only=True)
class EstimateRectifier:
    """Draws x0 towards one source, given as both `fixed` and `moving`.

    Attributes:
        share: k, 0 for the source alone, 1 for the prior alone.
        noise_model: of the noise of the source; x0 is given and returned on its scale.
        luminance: how luminance is taken from RGB; no matter for one channel.
    """

    share: float
    noise_model: NoiseModel
    luminance: Luminance = "full"

    def for_noise(self, noise_model: NoiseModel) -> EstimateRectifier:
        """Return the rectifier for another noise, with the same share."""
        return replace(self, noise_model=noise_model)

    def initial_state(self, sources: Tensor) -> Tensor:
        """Return the source, [B, 1, H, W]."""
        return at_least_float32(split_sources(sources)[0])

    def mode(self, state: Tensor) -> Tensor:
        """Return the source on the noise model's scale, which sampling can start from."""
        return self.noise_model.stabilize(state)

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,  # noqa: ARG002
        state: Tensor,
        *,
        index: int = 0,
        steps: int = 1,
    ) -> Rectified[Tensor]:
        with torch.autocast(x0.device.type, enabled=False):
            x0 = at_least_float32(x0)
            mean = self.noise_model.restore(luminance_of(x0, self.luminance))
            goes_on = self.noise_model.magnitudes and index < steps - 1
            signal = mean if goes_on else self.noise_model.unclip(mean)
            mixed = signal + (1 - self.share) * (state - mean)
            rectified = with_luminance(x0, self.noise_model.stabilize(mixed), self.luminance)
        return Rectified(rectified, state, torch.full_like(mixed, 0.5), mixed)
