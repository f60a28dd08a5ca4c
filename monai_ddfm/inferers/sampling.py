"""The sampling loop of DDFM over one batch of slices.

At every step of a diffusion solver (Zhao et al. 2023, arXiv 2303.06840, algorithm 1):

1. the prior predicts the noise in x_t, and from it the clean image x0, clipped to [-1, 1];
2. a rectifier corrects x0 against both sources (in DDFM, one EM iteration);
3. the solver steps from x_t to x_(t-1) by way of the corrected x0.

The last step ends on the corrected x0 itself, so that what the rectifier guarantees of it (that
every value lies between the sources, say) holds for the result. For the same reason a run may end
early: a slice whose luminance changes by less than a tolerance from one step to the next, in the
second half of the run, keeps the value it has.

Nothing in the loop waits for the device, unless a tolerance is given: whether all slices have
settled has to be known on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from monai_ddfm.inferers.noise import Noise
from monai_ddfm.likelihoods.noise_model import END_OF_RANGE
from monai_ddfm.likelihoods.rectifiers import Rectified, Rectifier, SourceRectifier
from monai_ddfm.networks.schedulers import Solver, SolverState

__all__ = ["SamplingStep", "SliceSampler", "with_noise_of"]


@dataclass(frozen=True, slots=True)
class SamplingStep:
    """State after a step, for whoever watches the loop.

    Attributes:
        index: position of the step in sampling order.
        rectified: outcome of the rectifier.
        sample: less noisy image that the solver stepped to, [B, C, H, W].
    """

    index: int
    rectified: Rectified[Any]
    sample: Tensor


@dataclass(frozen=True, kw_only=True)
class SliceSampler:
    """Samples fused slices.

    Attributes:
        solver: steps from a given clean image.
        rectifier: corrects the clean image at every step.
        noise: start noise, and that of stochastic solvers.
        channels: channels of the prior's images, 1 or 3.
        start_index: position to start from.
        from_average: start from the noised average of the sources instead of from pure noise.
        mode_noise: start from the rectifier's mode, whose own noise has this standard deviation
            on the scale from -1 to 1; None starts as above.
        excess: noise to start with over that of the mode, at least 1; the difference is added. The
            first visited timestep is to be that of the noise there is then.
        mirror: show every second step's image to the network as its mirror image, so that what it
            gets wrong in one orientation does not add up. It has to know both from its training.
        autocast_dtype: type of the network's arithmetic; None is full precision. Everything else
            is float32.
        tolerance: a slice is finished when no luminance value changes by more than this in a step;
            None is never. On the scale from -1 to 1.
    """

    solver: Solver
    rectifier: Rectifier[Any]
    noise: Noise
    channels: int = 1
    start_index: int = 0
    from_average: bool = False
    mode_noise: float | None = None
    excess: float = 1.0
    mirror: bool = False
    autocast_dtype: torch.dtype | None = None
    tolerance: float | None = None

    @property
    def steps(self) -> int:
        """Evaluations of the network per slice, at most."""
        return len(self.solver.schedule) - self.start_index

    @torch.no_grad()
    def __call__(
        self,
        sources: Tensor,
        network: nn.Module,
        *,
        slices: Sequence[int],
        start: Tensor | None = None,
        on_step: Callable[[SamplingStep], None] | None = None,
    ) -> Rectified[Any]:
        """Sample one batch.

        Args:
            sources: [B, 2, H, W] in [-1, 1], channel 0 fixed and channel 1 moving; H and W as the
                network needs them.
            network: the prior, called as ``network(x_t, timesteps)``.
            slices: B numbers that identify the slices, for their noise.
            start: start noise [B, C, H, W] instead of the seeded one.
            on_step: called after every step.

        Returns:
            Outcome of the last rectification: luminance and weight of `moving`, [B, 1, H, W].
        """
        shape = (self.channels, *sources.shape[-2:])
        sample = self.noise.start(slices, shape, sources.device) if start is None else start
        state = self.rectifier.initial_state(sources)
        if self.mode_noise is not None and isinstance(self.rectifier, SourceRectifier):
            mode = self.rectifier.mode(state).expand(-1, self.channels, -1, -1)
            signal = math.sqrt(self.solver.schedule.alphas_cumprod[self.start_index])
            noisy = with_noise_of(mode, sample, level=self.mode_noise, excess=self.excess)
            sample = signal * noisy
        elif self.from_average:
            average = sources.mean(dim=1, keepdim=True).expand(-1, self.channels, -1, -1)
            sample = self.solver.add_noise(average, self.start_index, sample)
        solver_state: SolverState | None = None
        total = len(self.solver.schedule)
        settling = None if self.tolerance is None else _Settling(self.tolerance)
        for index in range(self.start_index, total):
            output = self.predict(network, sample, index)
            x0 = self.solver.predict_x0(output, index, sample)
            rectified = self.rectifier.step(x0, sources, state, index=index, steps=total)
            state = rectified.state
            fresh = None
            if self.solver.needs_noise(index):
                fresh = self.noise.at_step(index, slices, shape, sources.device)
            sample, solver_state = self.solver.step(
                rectified.x0, index, sample, solver_state, noise=fresh, model_output=output
            )
            if on_step is not None:
                on_step(SamplingStep(index, rectified, sample))
            # Not in the first half: there x0 hardly changes because it is hardly known.
            late = 2 * (index + 1 - self.start_index) > self.steps
            if settling is not None and settling.all_settled(rectified, may_end=late):
                break
        return rectified if settling is None else settling.outcome(rectified)

    def predict(self, network: nn.Module, sample: Tensor, index: int) -> Tensor:
        """Return the network's output for noisy images [B, C, H, W] at the step `index`, float32.

        Args:
            network: the prior.
            sample: noisy images.
            index: position of the step in sampling order.
        """
        # One timestep for the whole batch: its embedding broadcasts, and is the same to the last
        # bit for every size of batch.
        timestep = torch.full((1,), self.solver.timestep(index), device=sample.device)
        enabled = self.autocast_dtype is not None
        # Convolutions on a CPU round otherwise for one image than for several, so they get one.
        turned = self.mirror and (index - self.start_index) % 2 == 1
        seen = sample.flip(-1) if turned else sample
        parts = seen.chunk(len(seen)) if seen.device.type == "cpu" else (seen,)
        with torch.autocast(sample.device.type, dtype=self.autocast_dtype, enabled=enabled):
            output = torch.cat([network(part, timestep).float() for part in parts])
        return output.flip(-1) if turned else output


def with_noise_of(mode: Tensor, noise: Tensor, *, level: float, excess: float = 1.0) -> Tensor:
    r"""Give a likelihood's mode the noise that the diffusion process expects everywhere.

    A prior tells noise from texture by the whole image: where the background shows no noise, it
    takes that of the tissue for texture. But images end at black and at white. A background without
    counts is free of noise, and whatever noise went over an end was cut off. So there the noise is
    drawn anew: at black on both sides, for it may be missing altogether, and at white upwards only,
    for saturated values were at least as high. Elsewhere :math:`\sqrt{e^2 - 1}\,s\,n` is added.

    Args:
        mode: [B, C, H, W] in [-1, 1].
        noise: standard normal n, same shape.
        level: standard deviation s of the mode's own noise, on the same scale, not below 0.
        excess: e, how many times that noise there is to be, at least 1.

    Returns:
        The mode with noise of the standard deviation e s, not cut to [-1, 1].
    """
    added = mode + level * math.sqrt(excess**2 - 1) * noise
    drawn = level * excess * noise
    added = torch.where(mode <= -END_OF_RANGE, mode + drawn, added)
    return torch.where(mode >= END_OF_RANGE, mode + drawn.abs(), added)


class _Settling:
    """Keeps, of every slice, the first outcome that differs from the one before by little enough.

    What a slice gets does not depend on how long the others of its batch go on.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._before: Tensor | None = None
        self._kept: Rectified[Any] | None = None
        self._settled = torch.zeros(1, dtype=torch.bool)

    def all_settled(self, rectified: Rectified[Any], *, may_end: bool) -> bool:
        """Take a step's outcome; return whether all slices have settled, if they may."""
        luminance, weight = rectified.luminance, rectified.weight
        if self._kept is None or self._before is None:
            self._settled = luminance.new_zeros((len(luminance), 1, 1, 1), dtype=torch.bool)
            self._kept, self._before = rectified, luminance
            return False
        change = (luminance - self._before).abs().amax(dim=(1, 2, 3), keepdim=True)
        self._kept = replace(
            rectified,
            luminance=torch.where(self._settled, self._kept.luminance, luminance),
            weight=torch.where(self._settled, self._kept.weight, weight),
        )
        self._before = luminance
        if not may_end:
            return False
        self._settled = self._settled | (change <= self.tolerance)
        return bool(self._settled.all())

    def outcome(self, rectified: Rectified[Any]) -> Rectified[Any]:
        """Return what the slices have settled on; x0 and the state are those of the last step."""
        return rectified if self._kept is None else self._kept
