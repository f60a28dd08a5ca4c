"""DDFM's own rectifier: one EM iteration per step; mathematics in `monai_ddfm.likelihoods.em`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_ddfm.likelihoods.em import EMState, Variant, check_em_parameters, em_step
from monai_ddfm.likelihoods.rectifiers.luminance import (
    Luminance,
    at_least_float32,
    check_luminance,
    luminance_of,
    split_sources,
    with_luminance,
)
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified

__all__ = ["EMRectifier"]


@dataclass(frozen=True, kw_only=True)
class EMRectifier:
    """One EM iteration of the hierarchical Bayesian model per step.

    Attributes:
        variant: "reference" as the published code computes, "paper" as the paper prints.
        lamb: weight of the gradient penalty.
        rho: weight of its splitting.
        tv: use the gradient penalty; without it every fused luminance lies between the sources.
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if a parameter is unknown or out of range.
    """

    variant: Variant = "reference"
    lamb: float = 0.5
    rho: float = 0.001
    tv: bool = True
    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        check_em_parameters(lamb=self.lamb, rho=self.rho, variant=self.variant)
        check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> EMState:
        """Return the state before the first step for `sources` [B, 2, H, W]."""
        batch, _, height, width = sources.shape
        dtype = sources.dtype if sources.is_floating_point() else torch.float32
        return EMState.initial(batch, height, width, device=sources.device, dtype=dtype)

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: EMState,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[EMState]:
        fixed, moving = split_sources(sources)
        with torch.autocast(x0.device.type, enabled=False):
            x0 = at_least_float32(x0)
            fused, state, weight = em_step(
                luminance_of(x0, self.luminance),
                moving,
                fixed,
                state,
                lamb=self.lamb,
                rho=self.rho,
                variant=self.variant,
                tv=self.tv,
            )
            rectified = with_luminance(x0, fused, self.luminance)
        return Rectified(rectified, state, weight, fused)
