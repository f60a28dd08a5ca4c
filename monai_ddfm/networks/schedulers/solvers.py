r"""Solvers that step from a *given* estimate of the clean image.

A solver is given :math:`x_0`, because a rectifier may have changed it, and every step is
:math:`x_{prev} = a\, x_0 + b\, x_t + s\, z` with numbers from the float64
tables of `NoiseSchedule`:

* DDIM [1, eq. 12]: :math:`s^2 = \eta^2 \tilde\beta`,
  :math:`b = \sqrt{1 - \bar\alpha_{prev} - s^2} / \sqrt{1 - \bar\alpha_t}`,
  :math:`a = \sqrt{\bar\alpha_{prev}} - b \sqrt{\bar\alpha_t}`, where :math:`\tilde\beta =
  \beta (1 - \bar\alpha_{prev}) / (1 - \bar\alpha_t)`.
* DDPM, the posterior :math:`q(x_{prev} | x_t, x_0)` [2, eq. 6 and 7]:
  :math:`a = \beta \sqrt{\bar\alpha_{prev}} / (1 - \bar\alpha_t)`,
  :math:`b = (1 - \bar\alpha_{prev}) \sqrt{1 - \beta} / (1 - \bar\alpha_t)`, and :math:`s^2` is
  :math:`\tilde\beta` (small), :math:`\beta` (large) or :math:`\tilde\beta^{1-u} \beta^{u}` with
  :math:`u` from the network [3, eq. 15].
* DPM-Solver++(2M) [4, algorithm 2]: DDIM's a and b on :math:`x_0 + \frac{h}{2 h_{before}}
  (x_0 - x_0^{before})`, where h is the gain of :math:`\lambda = \frac12 \log
  \frac{\bar\alpha}{1 - \bar\alpha}` in a step.

Positions are called `index` and count in sampling order: index 0 is the noisiest.

References:
    [1] J. Song et al., Denoising Diffusion Implicit Models, arXiv 2010.02502.
    [2] J. Ho et al., Denoising Diffusion Probabilistic Models, arXiv 2006.11239.
    [3] A. Nichol and P. Dhariwal, Improved DDPM, arXiv 2102.09672.
    [4] C. Lu et al., DPM-Solver++, arXiv 2211.01095.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks.schedulers.process import NoiseSchedule

__all__ = [
    "DDIMSolver",
    "DDPMSolver",
    "DPMSolverPP2M",
    "PredictionType",
    "Solver",
    "SolverState",
    "SolverStep",
    "Variance",
]

PredictionType = Literal["epsilon", "v_prediction", "sample"]
Variance = Literal["fixed_small", "fixed_large", "learned_range"]


@dataclass(frozen=True, slots=True)
class SolverState:
    """Memory of a run: the estimate given at the step before, and the index of that step."""

    previous_x0: Tensor | None = None
    previous_index: int | None = None


class SolverStep(NamedTuple):
    """Outcome of a step: the less noisy image and the state for the next step."""

    x_prev: Tensor
    state: SolverState


@dataclass(frozen=True)
class Solver(ABC):
    """What the solvers share. They hold no state of a run and never wait for the device.

    Attributes:
        schedule: the respaced process.
        prediction_type: what the network predicts.
    """

    schedule: NoiseSchedule
    prediction_type: PredictionType = "epsilon"

    def __post_init__(self) -> None:
        _check_known("prediction type", self.prediction_type, get_args(PredictionType))

    def timestep(self, index: int) -> int:
        """Return the timestep of the training process, which the network is given."""
        return self.schedule.timesteps[index]

    def add_noise(self, x0: Tensor, index: int, noise: Tensor) -> Tensor:
        """Diffuse `x0` to `index`, for a start from an intermediate timestep."""
        return self.schedule.add_noise(x0, index, noise)

    def predict_x0(
        self, model_output: Tensor, index: int, x_t: Tensor, *, clip: bool = True
    ) -> Tensor:
        """Estimate the clean image from the network's output.

        Args:
            model_output: [B, C, ...], or [B, 2C, ...] if the variance is learned.
            index: position in sampling order.
            x_t: noisy image [B, C, ...].
            clip: cut the estimate to [-1, 1].

        Returns:
            x0, [B, C, ...], of the type of `x_t`.

        Raises:
            ValueError: if the channels do not fit.
        """
        channels = x_t.shape[1]
        if model_output.shape[1] not in {channels, 2 * channels}:
            raise ValueError(
                f"{model_output.shape[1]} channels predict no {channels}-channel image"
            )
        output = model_output[:, :channels].to(x_t.dtype)
        power = self.schedule.alphas_cumprod[index]
        if self.prediction_type == "epsilon":
            x0 = math.sqrt(1 / power) * x_t - math.sqrt(1 / power - 1) * output
        elif self.prediction_type == "v_prediction":
            x0 = math.sqrt(power) * x_t - math.sqrt(1 - power) * output
        else:
            x0 = output
        return x0.clamp(-1, 1) if clip else x0

    def step(
        self,
        x0: Tensor,
        index: int,
        x_t: Tensor,
        state: SolverState | None = None,
        *,
        noise: Tensor | None = None,
        model_output: Tensor | None = None,
    ) -> SolverStep:
        """Step to the next index; the last step ends on `x0` itself.

        Args:
            x0: estimate of the clean image [B, C, ...]; it is not clipped.
            index: position in sampling order.
            x_t: noisy image, same shape.
            state: from the step before; None starts afresh.
            noise: standard normal, same shape; needed where `needs_noise` says so.
            model_output: the network's output; needed for a learned variance only.

        Returns:
            The less noisy image and the state for the next step.

        Raises:
            ValueError: if noise or a model output is needed and missing.
        """
        x_prev = self._mean(x0, index, x_t, state or SolverState())
        if self.needs_noise(index):
            if noise is None:
                raise ValueError(f"the step at index {index} adds noise and was given none")
            x_prev = x_prev + self._deviation(index, model_output, x_t) * noise
        return SolverStep(x_prev, SolverState(x0, index))

    @abstractmethod
    def needs_noise(self, index: int) -> bool:
        """Whether the step at `index` adds noise."""

    @abstractmethod
    def _mean(self, x0: Tensor, index: int, x_t: Tensor, state: SolverState) -> Tensor:
        """Return the noise-free part of the step."""

    @abstractmethod
    def _deviation(self, index: int, model_output: Tensor | None, x_t: Tensor) -> Tensor | float:
        """Return the standard deviation of the added noise."""

    def _deterministic(
        self, x0: Tensor, index: int, x_t: Tensor, *, variance: float = 0.0
    ) -> Tensor:
        """Return DDIM's step, which leaves room for noise of a variance."""
        power = self.schedule.alphas_cumprod[index]
        after = self.schedule.alphas_cumprod_prev[index]
        of_x_t = math.sqrt((1 - after - variance) / (1 - power))
        of_x0 = math.sqrt(after) - of_x_t * math.sqrt(power)
        return of_x_t * x_t + of_x0 * x0

    def _small_variance(self, index: int) -> float:
        """Return the variance of q(x_prev | x_t, x0)."""
        after = 1 - self.schedule.alphas_cumprod_prev[index]
        return self.schedule.betas[index] * after / (1 - self.schedule.alphas_cumprod[index])


@dataclass(frozen=True)
class DDIMSolver(Solver):
    """Denoising diffusion implicit model.

    Attributes:
        eta: 0 is deterministic, 1 has the variance of DDPM; more is cut where the noise would
            exceed what the next index allows.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.eta) and self.eta >= 0):
            raise InputError(f"eta must be a finite number of at least 0, not {self.eta!r}.")

    def needs_noise(self, index: int) -> bool:
        """Whether the step at `index` adds noise: none does if `eta` is 0, the last never."""
        return self._variance(index) > 0

    def _variance(self, index: int) -> float:
        room = 1 - self.schedule.alphas_cumprod_prev[index]
        return min(self.eta**2 * self._small_variance(index), room)

    def _mean(self, x0: Tensor, index: int, x_t: Tensor, state: SolverState) -> Tensor:  # noqa: ARG002
        return self._deterministic(x0, index, x_t, variance=self._variance(index))

    def _deviation(self, index: int, model_output: Tensor | None, x_t: Tensor) -> float:  # noqa: ARG002
        return math.sqrt(self._variance(index))


@dataclass(frozen=True)
class DDPMSolver(Solver):
    """Ancestral sampling from the posterior.

    Attributes:
        variance: that of the added noise; "learned_range" interpolates between the small and the
            large one in log space, as the second half of the network's channels says.
    """

    variance: Variance = "fixed_small"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_known("variance", self.variance, get_args(Variance))

    def needs_noise(self, index: int) -> bool:
        """Whether the step at `index` adds noise: all but the last do."""
        return index < len(self.schedule) - 1

    def _mean(self, x0: Tensor, index: int, x_t: Tensor, state: SolverState) -> Tensor:  # noqa: ARG002
        beta, rest = self.schedule.betas[index], 1 - self.schedule.alphas_cumprod[index]
        after = self.schedule.alphas_cumprod_prev[index]
        of_x0 = beta * math.sqrt(after) / rest
        return of_x0 * x0 + (math.sqrt(1 - beta) * (1 - after) / rest) * x_t

    def _deviation(self, index: int, model_output: Tensor | None, x_t: Tensor) -> Tensor | float:
        small, large = self._small_variance(index), self.schedule.betas[index]
        if self.variance != "learned_range":
            return math.sqrt(small if self.variance == "fixed_small" else large)
        channels = x_t.shape[1]
        if model_output is None or model_output.shape[1] != 2 * channels:
            raise ValueError("a learned variance needs the network's output, twice the channels")
        share = (model_output[:, channels:].to(x_t.dtype) + 1) / 2
        return torch.exp(0.5 * (share * math.log(large) + (1 - share) * math.log(small)))


@dataclass(frozen=True)
class DPMSolverPP2M(Solver):
    """DPM-Solver++(2M): second order, one evaluation of the network per step.

    The first step after a fresh start and the last, which ends at zero noise, are DDIM's.
    """

    def needs_noise(self, index: int) -> bool:  # noqa: ARG002
        """Return False: the solver is deterministic."""
        return False

    def _mean(self, x0: Tensor, index: int, x_t: Tensor, state: SolverState) -> Tensor:
        is_last = index == len(self.schedule) - 1
        if state.previous_x0 is not None and state.previous_index is not None and not is_last:
            before, here, after = map(self._half_log_snr, (state.previous_index, index, index + 1))
            ratio = (after - here) / (2 * (here - before))
            x0 = x0 + ratio * (x0 - state.previous_x0)
        return self._deterministic(x0, index, x_t)

    def _deviation(self, index: int, model_output: Tensor | None, x_t: Tensor) -> float:  # noqa: ARG002
        return 0.0

    def _half_log_snr(self, index: int) -> float:
        power = self.schedule.alphas_cumprod[index]
        return 0.5 * math.log(power / (1 - power))


def _check_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise InputError(f"{what} {name!r} is unknown; use {' or '.join(known)}.")
