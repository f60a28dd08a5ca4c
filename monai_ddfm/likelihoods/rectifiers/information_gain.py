r"""Weights by diffusion information gain, after Dig2DIG.

Cao et al. (2025) [1] observe that a denoising step teaches more about one source than about the
other, differently from region to region, and weigh the sources by that gain. With the prior's
estimate :math:`\hat x_t` of the clean image at step t (t descending) and the source :math:`s_k`,

.. math::

    \mathrm{DIG}_k(t) = G * \left[(\hat x_{t+1} - s_k)^2 - (\hat x_t - s_k)^2\right], \qquad
    w = \frac{e^{\kappa\,\mathrm{DIG}_i}}{e^{\kappa\,\mathrm{DIG}_i} + e^{\kappa\,\mathrm{DIG}_v}}
      = \mathrm{sigm}\left(\kappa\,(\mathrm{DIG}_i - \mathrm{DIG}_v)\right)

where the mean G over a window makes regions of pixels. The estimate becomes :math:`w i + (1 - w)
v`. Built from the paper's description; what it leaves open is decided so:

* The paper has no :math:`\kappa`. Gains of images in [-1, 1] are far below 1, and without a scale
  the softmax is the average; here the difference of the gains is divided by its own root mean
  square over the image, times `temperature`.
* The gains of single steps are noisy. They are summed over the steps done so far, so that a
  region's weight settles.
* The first step has no step before it; its weight is 1/2.

Its step skipping leaves out steps that bring no gain. Here that is the loop's early stop, which
ends a slice when its estimate no longer changes.

References:
    [1] B. Cao et al., Dig2DIG: Dig into diffusion information gains for image fusion, 2025,
        arXiv 2503.18627.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.em import moving_share
from monai_ddfm.likelihoods.rectifiers.luminance import (
    Luminance,
    at_least_float32,
    check_luminance,
    luminance_of,
    split_sources,
    with_luminance,
)
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified
from monai_ddfm.likelihoods.saliency import box_blur

__all__ = ["InformationGainRectifier", "InformationGainState"]

_LEAST_SPREAD = 1e-8


@dataclass(frozen=True, slots=True)
class InformationGainState:
    """What one step leaves to the next.

    Attributes:
        before: squared distances of the prior's last estimate to moving and fixed, [B, 2, H, W];
            None before the first step.
        advantage: sum of the gains of moving over fixed so far, [B, 1, H, W].
    """

    before: Tensor | None
    advantage: Tensor


@dataclass(frozen=True, kw_only=True)
class InformationGainRectifier:
    """Weighs the sources by what the denoising steps have told of each, region by region.

    Attributes:
        window: radius of a region in pixels.
        temperature: how sharply the weights choose; see above.
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if a parameter is out of range.
    """

    window: int = 3
    temperature: float = 2.0
    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        if self.window < 0 or not self.temperature >= 0:
            raise InputError("window and temperature must not be negative.")
        check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> InformationGainState:
        """Return the state before the first step for `sources` [B, 2, H, W]."""
        return InformationGainState(None, torch.zeros_like(at_least_float32(sources[:, :1])))

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: InformationGainState,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[InformationGainState]:
        fixed, moving = map(at_least_float32, split_sources(sources))
        with torch.autocast(x0.device.type, enabled=False):
            x0 = at_least_float32(x0)
            predicted = luminance_of(x0, self.luminance)
            distances = torch.cat([(predicted - moving).square(), (predicted - fixed).square()], 1)
            advantage = state.advantage
            if state.before is not None:
                gain = (state.before - distances).diff(dim=1).neg()
                # One by one: convolutions round otherwise for one image than for several.
                regions = [box_blur(one, radius=self.window) for one in torch.split(gain, 1)]
                advantage = advantage + torch.cat(regions)
            spread = advantage.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            odds = self.temperature * advantage / spread.clamp_min(_LEAST_SPREAD)
            fused = fixed + torch.sigmoid(odds) * (moving - fixed)
            fused = fused.clamp(torch.minimum(moving, fixed), torch.maximum(moving, fixed))
            weight = moving_share(fused, moving, fixed)
            rectified = with_luminance(x0, fused, self.luminance)
        return Rectified(rectified, InformationGainState(distances, advantage), weight, fused)
