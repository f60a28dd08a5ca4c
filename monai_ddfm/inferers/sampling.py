r"""The sampling loop over one batch of slices, or over a volume, and the fusion of its outcomes.

At every step of a diffusion solver (Zhao et al. 2023, arXiv 2303.06840, algorithm 1):

1. a guided denoiser (`monai_ddfm.likelihoods.guidance`) tells the clean image x0 behind x_t, which
   agrees with the sources;
2. the solver steps from x_t to x_(t-1) by way of x0.

That is all the loop knows. The last step ends on x0 itself, so that what the guidance guarantees of
it (that every value lies between the sources, say) holds for the result. For the same reason a run
may end early: a slice whose luminance changes by less than a tolerance from one step to the next,
in the second half of the run, keeps the value it has.

A fusion has one run of the loop, on the fused image, or one for each source whose clean image is
sampled, as the likelihood's plan says (`monai_ddfm.likelihoods.rectifiers.plan`).

Nothing in the loop waits for the device, unless a tolerance is given: whether all slices have
converged has to be known on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_ddfm.inferers.denoising import NetworkDenoiser
from monai_ddfm.inferers.layout import pad_to_frame
from monai_ddfm.inferers.noise import SamplingNoise
from monai_ddfm.likelihoods.guidance import Denoiser, GuidedDenoiser, as_slices, rectified_images
from monai_ddfm.likelihoods.noise_model import END_OF_RANGE
from monai_ddfm.likelihoods.rectifiers import Plan, Rectified, Rectifier, Run
from monai_ddfm.networks.schedulers import Solver, SolverState

__all__ = ["FusionSampler", "SamplingStep", "SliceSampler", "interpolated", "with_noise_of"]


@dataclass(frozen=True, slots=True)
class SamplingStep:
    """State after a step, for whoever watches the loop.

    Attributes:
        index: position of the step in its run; of the step among all in a fusion.
        rectified: outcome of the guidance.
        sample: less noisy image that the solver stepped to, [B, C, ...].
    """

    index: int
    rectified: Rectified[Any]
    sample: Tensor


StepCallback = Callable[[SamplingStep], None]


@dataclass(frozen=True, kw_only=True)
class SliceSampler:
    """One run of the loop.

    Attributes:
        solver: steps from a given clean image.
        channels: channels of the prior's images, 1 or 3.
        start_index: position to start from.
        from_average: start from the noised average of the sources instead of from pure noise.
        mode_noise: start from the likelihood's mode, whose own noise has this standard deviation
            on the scale from -1 to 1; None starts as above.
        excess: noise to start with over that of the mode, at least 1; the difference is added. The
            first visited timestep is to be that of the noise there is then.
        even: the mode has its noise at black and white too, none is missing there.
        mirror: see `NetworkDenoiser`.
        autocast_dtype: see `NetworkDenoiser`.
        tolerance: a slice is finished when no luminance value changes by more than this in a step;
            None is never. On the scale from -1 to 1.
        axis: spatial axis of a volume along which slices follow each other.
        as_volumes: makes a denoiser of volumes of the one of slices; None leaves it as it is.
    """

    solver: Solver
    channels: int = 1
    start_index: int = 0
    from_average: bool = False
    mode_noise: float | None = None
    excess: float = 1.0
    even: bool = False
    mirror: bool = False
    autocast_dtype: torch.dtype | None = None
    tolerance: float | None = None
    axis: int = 2
    as_volumes: Callable[[NetworkDenoiser], Denoiser] | None = None

    @property
    def steps(self) -> int:
        """Evaluations of the network per slice, at most."""
        return len(self.solver.schedule) - self.start_index

    @torch.no_grad()
    def __call__(
        self,
        sources: Tensor,
        network: nn.Module,
        rectifier: Rectifier[Any],
        *,
        noise: SamplingNoise,
        slices: Sequence[int],
        on_step: StepCallback | None = None,
    ) -> Rectified[Any]:
        """Sample one batch.

        Args:
            sources: [B, C, H, W] or [B, C, H, W, D] in [-1, 1], channel 0 fixed and the others
                moving; sides as the network needs them.
            network: the prior; `monai_ddfm.inferers.denoising` says how it is called.
            rectifier: guides it.
            noise: start noise, and that of stochastic solvers.
            slices: B numbers that identify the slices, for their noise.
            on_step: called after every step.

        Returns:
            Outcome of the last step: luminance and weight of `moving`, [B, 1, ...]; of several
            moving sources a weight each, [B, C - 1, ...].
        """
        of_network = NetworkDenoiser(
            network=network,
            solver=self.solver,
            start_index=self.start_index,
            mirror=self.mirror,
            autocast_dtype=self.autocast_dtype,
        )
        denoiser = of_network if self.as_volumes is None else self.as_volumes(of_network)
        total = len(self.solver.schedule)
        guided = GuidedDenoiser(denoiser, rectifier, sources, steps=total, axis=self.axis)
        sample = self._start(guided, noise, slices)
        solver_state: SolverState | None = None
        convergence = None if self.tolerance is None else _Convergence(self.tolerance)
        for index in range(self.start_index, total):
            told = guided(sample, index)
            fresh = None
            if self.solver.needs_noise(index):
                fresh = noise.at_step(index, slices, sample.shape[1:], sample.device)
            sample, solver_state = self.solver.step(
                told.x0, index, sample, solver_state, noise=fresh, model_output=told.output
            )
            if on_step is not None:
                on_step(SamplingStep(index - self.start_index, told.rectified, sample))
            # Not in the first half: there x0 hardly changes because it is hardly known.
            late = 2 * (index + 1 - self.start_index) > self.steps
            if convergence is not None and convergence.all_converged(told.rectified, may_end=late):
                break
        return told.rectified if convergence is None else convergence.outcome(told.rectified)

    def _start(self, guided: GuidedDenoiser, noise: SamplingNoise, slices: Sequence[int]) -> Tensor:
        """Return the image to start from, [B, C, ...]."""
        sources = guided.sources

        def spread(image: Tensor) -> Tensor:
            return image.expand(-1, self.channels, *[-1] * (sources.ndim - 2))

        mode = None if self.mode_noise is None else guided.mode
        if self.mode_noise is not None and mode is not None:
            mode = spread(mode)
            drawn = noise.start(slices, mode.shape[1:], sources.device)
            signal = math.sqrt(self.solver.schedule.alphas_cumprod[self.start_index])
            if self.even and self.excess == 1:
                return signal * guided.denoiser.encode(mode)
            noisy = with_noise_of(mode, drawn, level=self.mode_noise, excess=self.excess)
            return signal * guided.denoiser.encode(noisy)
        average = guided.denoiser.encode(spread(sources.mean(dim=1, keepdim=True)))
        drawn = noise.start(slices, average.shape[1:], sources.device)
        return (
            self.solver.add_noise(average, self.start_index, drawn) if self.from_average else drawn
        )


@dataclass(frozen=True, kw_only=True)
class FusionSampler:
    """Samples what a plan says, and fuses it.

    Attributes:
        plan: the likelihood's.
        samplers: one for each of its runs; None where it has no rectifier.
        axis: spatial axis of a volume along which slices follow each other.
    """

    plan: Plan
    samplers: tuple[SliceSampler | None, ...]
    axis: int = 2

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
        noise: SamplingNoise,
        slices: Sequence[int],
        on_step: StepCallback | None = None,
    ) -> Rectified[Any]:
        """Fuse one batch; arguments and outcome are those of `SliceSampler`."""
        estimates, done = [], 0
        for run, sampler in zip(self.plan.runs, self.samplers, strict=True):
            shown = run.sources(sources)
            if sampler is None or run.rectifier is None:
                estimates.append(shown[:, :1])
                continue
            if run.coarse > 1:
                divisor = getattr(network, "size_divisor", 1)
                drawn = noise.start(slices, shown[:, :1].shape[1:], shown.device)
                shown = coarse_sources(shown, run, drawn=drawn, divisor=divisor)
            outcome = sampler(
                shown,
                network,
                run.rectifier,
                noise=noise,
                slices=slices,
                on_step=_counted_from(done, on_step),
            )
            estimate = outcome.luminance
            if run.coarse > 1:
                estimate = refined(estimate, run.coarse, sources.shape[2:])
            estimates.append(estimate)
            done += sampler.steps
        if self.plan.fuse is None:
            return outcome
        slices_of = [as_slices(images, self.axis) for images in (sources, *estimates)]
        fused = self.plan.fuse(slices_of[0], slices_of[1:])
        fused = rectified_images(fused, sources, self.axis)
        if done == 0 and on_step is not None:
            on_step(SamplingStep(0, fused, fused.x0))
        return fused


def _counted_from(done: int, on_step: StepCallback | None) -> StepCallback | None:
    """Return the callback with the steps of the runs before counted in."""
    if on_step is None or done == 0:
        return on_step
    return lambda step: on_step(replace(step, index=done + step.index))


def coarse_sources(sources: Tensor, run: Run, *, drawn: Tensor, divisor: int) -> Tensor:
    """Return the means of blocks of pixels, with noise of one deviation everywhere.

    Args:
        sources: [B, 2, H, W], one source twice.
        run: says of its noise and of the size of the blocks.
        drawn: standard normal, [B, 1, H, W], for `with_noise_of`.
        divisor: the sides of the result are padded to multiples of this.
    """
    model = run.noise_model
    if model is None:
        raise ValueError("without its noise a source cannot be shown with fewer pixels")
    even = with_noise_of(model.stabilize(sources), drawn, level=model.level)
    means = functional.avg_pool2d(even, run.coarse, ceil_mode=True)
    sides = [side + -side % divisor for side in means.shape[2:]]
    return model.restore(pad_to_frame(means, sides))


def refined(means: Tensor, factor: int, sides: Sequence[int]) -> Tensor:
    """Return smooth images [B, C, H, W] in [-1, 1], of such sides, from the means of blocks."""
    return interpolated(means, factor, sides).clamp(-1, 1)


def interpolated(means: Tensor, factor: int, sides: Sequence[int]) -> Tensor:
    """Interpolate the means of blocks, [B, C, h, w], to images of such sides."""
    # One by one: interpolation may round otherwise for one image than for several.
    fine = [
        functional.interpolate(one, scale_factor=factor, mode="bicubic", align_corners=False)
        for one in torch.split(means, 1)
    ]
    height, width = sides
    return torch.cat(fine)[..., :height, :width]


def with_noise_of(mode: Tensor, normal: Tensor, *, level: float, excess: float = 1.0) -> Tensor:
    r"""Give a likelihood's mode the noise that the diffusion process expects everywhere.

    A prior tells noise from texture by the whole image: where the background shows no noise, it
    takes that of the tissue for texture. But images end at black and at white. A background without
    counts is free of noise, and whatever noise went over an end was cut off. So there the noise is
    drawn anew: at black on both sides, for it may be missing altogether, and at white upwards only,
    for saturated values were at least as high. Elsewhere :math:`\sqrt{e^2 - 1}\,s\,n` is added.

    Args:
        mode: [B, C, H, W] in [-1, 1].
        normal: standard normal n, same shape.
        level: standard deviation s of the mode's own noise, on the same scale, not below 0.
        excess: e, how many times that noise there is to be, at least 1.

    Returns:
        The mode with noise of the standard deviation e s, not cut to [-1, 1].
    """
    added = mode + level * math.sqrt(excess**2 - 1) * normal
    drawn = level * excess * normal
    added = torch.where(mode <= -END_OF_RANGE, mode + drawn, added)
    return torch.where(mode >= END_OF_RANGE, mode + drawn.abs(), added)


class _Convergence:
    """Keeps, of every slice, the first outcome that differs from the one before by little enough.

    What a slice gets does not depend on how long the others of its batch go on.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._before: Tensor | None = None
        self._kept: Rectified[Any] | None = None
        self._converged = torch.zeros(1, dtype=torch.bool)

    def all_converged(self, rectified: Rectified[Any], *, may_end: bool) -> bool:
        """Take a step's outcome; return whether all slices have converged, if they may."""
        luminance, weight = rectified.luminance, rectified.weight
        if self._kept is None or self._before is None:
            one = (len(luminance), *[1] * (luminance.ndim - 1))
            self._converged = luminance.new_zeros(one, dtype=torch.bool)
            self._kept, self._before = rectified, luminance
            return False
        change = (luminance - self._before).abs().flatten(1).amax(dim=1).view_as(self._converged)
        self._kept = replace(
            rectified,
            luminance=torch.where(self._converged, self._kept.luminance, luminance),
            weight=torch.where(self._converged, self._kept.weight, weight),
        )
        self._before = luminance
        if not may_end:
            return False
        self._converged = self._converged | (change <= self.tolerance)
        return bool(self._converged.all())

    def outcome(self, rectified: Rectified[Any]) -> Rectified[Any]:
        """Return what the slices have converged to; x0 and the state are those of the last step."""
        return rectified if self._kept is None else self._kept
