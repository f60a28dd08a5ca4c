"""The rectifier that chooses, see `monai_ddfm.saliency` for its mathematics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_ddfm.em import moving_share
from monai_ddfm.errors import InputError
from monai_ddfm.rectifiers.luminance import (
    Luminance,
    at_least_float32,
    check_luminance,
    luminance_of,
    split_sources,
    with_luminance,
)
from monai_ddfm.rectifiers.protocol import Rectified
from monai_ddfm.saliency import salient_estimate

__all__ = ["SaliencyRectifier", "SaliencyState"]


@dataclass(frozen=True, slots=True)
class SaliencyState:
    """What does not change from step to step.

    Attributes:
        estimate: mode of the likelihood, [B, 1, H, W].
        lower: smaller of the two sources, same shape.
        upper: larger of the two sources, same shape.
    """

    estimate: Tensor
    lower: Tensor
    upper: Tensor


@dataclass(frozen=True, kw_only=True)
class SaliencyRectifier:
    r"""Draws x0 towards the source that has structure, and keeps it between the sources.

    With the likelihood's mode :math:`m` (see `monai_ddfm.saliency`) and a Gaussian prior around the
    diffusion model's :math:`x_0`, the posterior's mode is :math:`(1 - k)\,m + k\,x_0`; it is
    projected onto the box :math:`[\min(i, v), \max(i, v)]`. The share of `moving` follows as
    :math:`(f - v) / (i - v)`.

    Attributes:
        prior_share: k, 0 for the likelihood alone, 1 for the prior alone within the box.
        levels: see `salient_estimate`.
        sharpness: see `salient_estimate`.
        window: see `salient_estimate`.
        base_sharpness: see `salient_estimate`.
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if a parameter is out of range.
    """

    prior_share: float = 0.3
    levels: int = 2
    sharpness: float = 4.0
    window: int = 2
    base_sharpness: float = 20.0
    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        if not 0 <= self.prior_share <= 1:
            raise InputError(f"prior share {self.prior_share!r} must lie between 0 and 1.")
        if self.levels < 0 or self.window < 0:
            raise InputError("levels and window must not be negative.")
        check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> SaliencyState:
        """Return the likelihood's mode and the box for `sources` [B, 2, H, W]."""
        fixed, moving = map(at_least_float32, split_sources(sources))
        with torch.autocast(sources.device.type, enabled=False):
            # One by one: convolutions round otherwise for one image than for several.
            pairs = zip(torch.split(moving, 1), torch.split(fixed, 1), strict=True)
            estimate = torch.cat([self._estimate(*pair) for pair in pairs])
        return SaliencyState(estimate, torch.minimum(moving, fixed), torch.maximum(moving, fixed))

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
        with torch.autocast(x0.device.type, enabled=False):
            x0 = at_least_float32(x0)
            predicted = luminance_of(x0, self.luminance)
            mixed = torch.lerp(state.estimate, predicted, self.prior_share)
            fused = mixed.clamp(state.lower, state.upper)
            weight = moving_share(fused, moving, fixed)
            rectified = with_luminance(x0, fused, self.luminance)
        return Rectified(rectified, state, weight, fused)

    def _estimate(self, moving: Tensor, fixed: Tensor) -> Tensor:
        return salient_estimate(
            moving,
            fixed,
            levels=self.levels,
            sharpness=self.sharpness,
            window=self.window,
            base_sharpness=self.base_sharpness,
        )
