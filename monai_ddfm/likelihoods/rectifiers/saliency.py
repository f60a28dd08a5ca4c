r"""The rectifier that chooses, and how far it trusts the prior.

The sources show the fused image through noise of standard deviation :math:`\sigma`: the mode
:math:`m` of the likelihood (`monai_ddfm.likelihoods.saliency`) is the fused image plus that noise.
The prior's estimate :math:`x_0` is free of it, but has an error of its own. The best mixture is

.. math::

    f = (1 - k)\,m + k\,x_0,

cut to the box :math:`[l, u] = [\min(i, v), \max(i, v)]`: nothing is invented, and an empty
background stays empty. Without the box the prior would fill the background. What is shown is cut at
every step; the sampling goes on from the mixture as it is, because the ends of the box are noisy
too.

:math:`\sigma` is measured (`monai_ddfm.likelihoods.noise_level`). The share k, and what of a level
counts as noise: `monai_ddfm.likelihoods.rectifiers.prior_use`.

Two noisy sources can lie on the same side of what they show, and then the box shuts it out: most of
the noise that is left in a result is the box's. On demand it is as wide as the measured noise makes
it, by a margin of c deviations,

.. math::

    [\,l - c\,r\,\sigma(l),\; u + c\,r\,\sigma(u)\,], \qquad r = \sigma / \hat\sigma,

with the deviation :math:`\sigma(\cdot)` of the noise model at that signal. So in sources without
noise it is the box itself. Where both sources are black it is so always.

Noise that grows with the signal, and noise at the ends of the range, are no noise of one deviation.
So sampling runs on the scale g of a measured noise model (`monai_ddfm.likelihoods.noise_model`), on
which they are, and what the prior predicts there is brought back by :math:`g^{-1}` and freed of the
bias of clipping before it is mixed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from monai_ddfm.likelihoods.em import moving_share
from monai_ddfm.likelihoods.noise_model import END_OF_RANGE, NoiseModel
from monai_ddfm.likelihoods.rectifiers.luminance import (
    at_least_float32,
    luminance_of,
    split_sources,
    with_luminance,
)
from monai_ddfm.likelihoods.rectifiers.prior_use import PriorUse
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified
from monai_ddfm.likelihoods.saliency import SaliencyParameters, likelihood_mode

__all__ = ["SaliencyRectifier", "SaliencyState"]


@dataclass(frozen=True, slots=True)
class SaliencyState:
    """What does not change from step to step.

    Attributes:
        mode: of the likelihood, [B, 1, H, W].
        lower: least value of the result, same shape.
        upper: largest value of the result, same shape.
    """

    mode: Tensor
    lower: Tensor
    upper: Tensor


@dataclass(frozen=True, kw_only=True)
class SaliencyRectifier(PriorUse):
    r"""Draws x0 towards the source that has signal and structure, and keeps it between the sources.

    The share of `moving` follows as :math:`(f - v) / (i - v)`.

    Attributes:
        parameters: parameters of the likelihood.
        prior_share: k, 0 for the likelihood alone, 1 for the prior alone within the box; None
            chooses it by the noise, see `for_noise`.
        fidelity: 1 keeps every value between the sources; below 1, the prior's own estimate is
            mixed in with the rest, so that noisy sources can be denoised on purpose; 0 is that
            estimate alone.
        noise_margin: c above: how far values may leave the range between the sources, in standard
            deviations of the sources' own noise; 0 keeps them in it, as does `noise_model` None.
        noise_model: of the noise of the sources; x0 is given and returned on its scale. None is the
            images' own scale.

    All others are those of `PriorUse`.

    Raises:
        InputError: if a parameter is out of range.
    """

    parameters: SaliencyParameters = field(default_factory=SaliencyParameters)
    noise_model: NoiseModel | None = None

    def configured(
        self,
        *,
        modality: str | None,
        finding: float | None,  # noqa: ARG002 - brightness alone decides
        favor_moving: float | None = None,
        **prior_use: Any,
    ) -> SaliencyRectifier:
        """Return this rectifier with the likelihood of a modality and other parameters.

        Args:
            modality: of `moving`; one without parameters, and None, leave the likelihood as it is.
            finding: has no effect.
            favor_moving: see `SaliencyParameters`; None leaves it as it is.
            prior_use: fields of this class.
        """
        parameters = SaliencyParameters.of_modality(modality) or self.parameters
        if favor_moving is not None:
            parameters = replace(parameters, favor_moving=favor_moving)
        return replace(self, parameters=parameters, **prior_use)

    def for_noise(self, noise_model: NoiseModel) -> SaliencyRectifier:
        """Return this rectifier for the sources' noise: with its scale, and k unless it is given.

        Args:
            noise_model: of it.
        """
        own = replace(self, noise_model=noise_model)
        if self.prior_share is not None:
            return own
        return replace(own, prior_share=self.share_by_noise(noise_model))

    def initial_state(self, sources: Tensor) -> SaliencyState:
        """Return the likelihood's mode and the box for `sources` [B, 2, H, W]."""
        fixed, moving = map(at_least_float32, split_sources(sources))
        with torch.autocast(sources.device.type, enabled=False):
            # One by one: convolutions round otherwise for one image than for several.
            pairs = zip(torch.split(moving, 1), torch.split(fixed, 1), strict=True)
            mode = torch.cat([likelihood_mode(*pair, self.parameters) for pair in pairs])
        return SaliencyState(mode, *self._box(moving, fixed))

    def mode(self, state: SaliencyState) -> Tensor:
        """Return the likelihood's mode, which sampling can start from, [B, 1, H, W]."""
        return state.mode if self.noise_model is None else self.noise_model.stabilize(state.mode)

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: SaliencyState,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[SaliencyState]:
        fixed, moving = map(at_least_float32, split_sources(sources))
        share = self.least_share if self.prior_share is None else self.prior_share
        with torch.autocast(x0.device.type, enabled=False):
            x0 = at_least_float32(x0)
            predicted = luminance_of(x0, self.luminance)
            if self.noise_model is not None:
                predicted = self.noise_model.unclip(self.noise_model.restore(predicted))
            mixed = torch.lerp(state.mode, predicted, share)
            fused = mixed.clamp(state.lower, state.upper)
            if self.fidelity < 1:
                fused = torch.lerp(predicted, fused, self.fidelity)
            weight = moving_share(fused, moving, fixed)
            if self.noise_model is not None:
                mixed = self.noise_model.stabilize(mixed)
            rectified = with_luminance(x0, mixed, self.luminance)
        return Rectified(rectified, state, weight, fused)

    def _box(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """The range of the result: between the sources, give or take the margin."""
        lower, upper = torch.minimum(moving, fixed), torch.maximum(moving, fixed)
        power = 0.0 if self.noise_model is None else self.power_beside_texture(self.noise_model)
        if self.noise_model is None or power * self.noise_margin == 0:
            return lower, upper
        margin = self.noise_margin * math.sqrt(power) / self.noise_model.level
        raised = (upper + margin * self.noise_model.deviation(upper)).clamp_max(1)
        lowered = (lower - margin * self.noise_model.deviation(lower)).clamp_min(-1)
        return lowered, torch.where(upper > -END_OF_RANGE, raised, upper)
