r"""Sampling that frees each source of its noise, and fuses what is left.

The sampling loop of `monai_ddfm.inferers.sampling` runs on one source at a time, from its own noise
level, with the rectifier that draws the prior's estimate towards that source. It does not run on a
source that shows no noise: there is nothing that the prior could tell. The fusion is then a closed
form of both clean images (`monai_ddfm.likelihoods.rectifiers.balance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from monai_ddfm.inferers.noise import Noise
from monai_ddfm.inferers.sampling import SamplingStep, SliceSampler
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import BalanceRectifier, Rectified

__all__ = ["EstimatingSampler"]


@dataclass(frozen=True, kw_only=True)
class EstimatingSampler:
    """Samples the clean images behind fixed and moving, and fuses them.

    Attributes:
        rectifier: fuses the clean images.
        samplers: of fixed and moving; None leaves a source as it is.
        noises: of fixed and moving.
        noise: start noise, and that of stochastic solvers, of both samplers.
    """

    rectifier: BalanceRectifier
    samplers: tuple[SliceSampler | None, SliceSampler | None]
    noises: tuple[NoiseModel, NoiseModel]
    noise: Noise
    start_index: int = 0

    @property
    def tolerance(self) -> float | None:
        """Change of luminance at which a slice is finished; None is never."""
        return next((one.tolerance for one in self.samplers if one is not None), None)

    @property
    def steps(self) -> int:
        """Evaluations of the network per slice, at most; 1 where there is none, for progress."""
        return sum(one.steps for one in self.samplers if one is not None) or 1

    @torch.no_grad()
    def __call__(
        self,
        sources: Tensor,
        network: nn.Module,
        *,
        slices: Sequence[int],
        on_step: Callable[[SamplingStep], None] | None = None,
    ) -> Rectified[Any]:
        """Fuse one batch.

        Args:
            sources: [B, 2, H, W] in [-1, 1], channel 0 fixed and channel 1 moving; H and W as the
                network needs them.
            network: the prior, called as ``network(x_t, timesteps)``.
            slices: B numbers that identify the slices, for their noise.
            on_step: called after every evaluation of the network.

        Returns:
            Luminance and weight of `moving`, [B, 1, H, W].
        """
        estimates, done = [], 0
        for number, sampler in enumerate(self.samplers):
            source = sources[:, number : number + 1]
            if sampler is None:
                estimates.append(source)
                continue
            estimates.append(
                replace(sampler, noise=self.noise)(
                    source.expand(-1, 2, -1, -1),
                    network,
                    slices=slices,
                    on_step=_counted_from(done, sampler, on_step),
                ).luminance
            )
            done += sampler.steps
        fused = self.rectifier.fuse(sources, estimates, noises=self.noises)
        if done == 0 and on_step is not None:
            on_step(SamplingStep(0, fused, fused.x0))
        return fused


def _counted_from(
    done: int, sampler: SliceSampler, on_step: Callable[[SamplingStep], None] | None
) -> Callable[[SamplingStep], None] | None:
    """Return the callback with the steps of the source before it counted in."""
    if on_step is None:
        return None

    def call(step: SamplingStep) -> None:
        on_step(replace(step, index=done + step.index - sampler.start_index))

    return call
