"""What a rectifier is given and gives.

A rectifier takes the clean image that the prior predicts and both sources, and returns a better
clean image. The sampling loop knows nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor

from monai_ddfm.likelihoods.noise_model import NoiseModel

__all__ = ["Rectified", "Rectifier", "SourceRectifier"]

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Rectified(Generic[StateT]):
    """Outcome of a rectifier's step.

    Attributes:
        x0: rectified image, [B, C, H, W] like the one given; not clipped.
        state: state for the next step.
        weight: share of `moving` in the luminance, [B, 1, H, W] in [0, 1]; of several moving
            sources, a channel each.
        luminance: rectified luminance on the scale of the sources, [B, 1, H, W].
    """

    x0: Tensor
    state: StateT
    weight: Tensor
    luminance: Tensor


class Rectifier(Protocol[StateT]):
    """Corrects predicted clean images; stateless itself, so that one object serves many runs."""

    def initial_state(self, sources: Tensor) -> StateT:
        """Return the state before the first step for `sources` [B, 2, H, W]."""
        ...

    def step(
        self, x0: Tensor, sources: Tensor, state: StateT, *, index: int = 0, steps: int = 1
    ) -> Rectified[StateT]:
        """Rectify a predicted clean image.

        Args:
            x0: [B, 1, H, W] or RGB [B, 3, H, W], in [-1, 1].
            sources: [B, 2, H, W] in [-1, 1]; channel 0 is fixed, channel 1 is moving.
            state: from `initial_state` or the step before.
            index: position of this step in sampling order, from 0.
            steps: number of steps of the run.

        Raises:
            ValueError: if the shapes do not fit.
        """
        ...


@runtime_checkable
class SourceRectifier(Rectifier[StateT], Protocol[StateT]):
    """A rectifier whose likelihood has a mode that sampling can start from."""

    def for_noise(self, noise_model: NoiseModel) -> Self:
        """Return the rectifier for the sources' noise; x0 and the mode are then on its scale."""
        ...

    def mode(self, state: StateT) -> Tensor:
        """Return the likelihood's mode, [B, 1, H, W] in [-1, 1]."""
        ...
