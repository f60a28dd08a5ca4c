"""No rectification: sampling from the prior alone, for comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_ddfm.likelihoods.em import moving_share
from monai_ddfm.likelihoods.rectifiers.luminance import (
    Luminance,
    at_least_float32,
    check_luminance,
    luminance_of,
    split_sources,
)
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified

__all__ = ["IdentityRectifier"]


@dataclass(frozen=True, kw_only=True)
class IdentityRectifier:
    """Leaves the prediction as it is: sampling from the prior alone.

    The weight is the projection of the predicted luminance onto the line between the sources.

    Attributes:
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if `luminance` is unknown.
    """

    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> None:  # noqa: ARG002
        """Return None: there is no state."""
        return

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: None,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[None]:
        fixed, moving = split_sources(sources)
        with torch.autocast(x0.device.type, enabled=False):
            luminance = luminance_of(at_least_float32(x0), self.luminance)
            weight = moving_share(luminance, at_least_float32(moving), at_least_float32(fixed))
        return Rectified(x0, state, weight, luminance)
