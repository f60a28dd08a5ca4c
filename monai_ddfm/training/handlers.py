"""Handlers that take a training run step by step through its budget.

All attach to MONAI's `SupervisedTrainer`, in the order `ReproducibleSteps`, `StepGuard`,
`AverageWeights`, `TrainingBudget`, `monai_ddfm.training.resuming.TrainingCheckpoint`: the
checkpoint then holds what the others have just updated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from monai_ddfm.errors import InputError
from monai_ddfm.training import ranks
from monai_ddfm.training.datasets import seed_for_step
from monai_ddfm.training.options import check_count

__all__ = [
    "AverageWeights",
    "ReproducibleSteps",
    "StepGuard",
    "TrainingBudget",
    "averaged_copy",
    "loss_of",
]

_Tensors = tuple[Tensor, ...] | list[Tensor]


def loss_of(engine: Engine) -> Tensor:
    """Return the loss of the trainer's step, detached.

    Args:
        engine: a MONAI trainer that does not decollate its output.
    """
    loss: Tensor = engine.state.output["loss"].detach()
    return loss


def averaged_copy(network: nn.Module, *, decay: float = 0.9995) -> AveragedModel:
    """Exponential moving average of `network`, whose memory grows to ``decay`` as it is updated.

    Args:
        network: the network in training, not wrapped for distributed training.
        decay: share of the old average kept per step in the long run.

    Returns:
        PyTorch's averaged model; its ``module`` is the averaged network.
    """

    @torch.no_grad()
    def update(averages: _Tensors, values: _Tensors, count: Tensor | int) -> None:
        # A young average would otherwise remember the random start for thousands of steps.
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, values, 1 - share)

    return AveragedModel(network, multi_avg_fn=update)


class AverageWeights:
    """Updates the moving average after every step.

    Args:
        averaged: from `averaged_copy`.
    """

    def __init__(self, averaged: AveragedModel) -> None:
        self.averaged = averaged

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Take one step of the average."""
        self.averaged.update_parameters(engine.network)


class ReproducibleSteps:
    """Seeds torch's generators before every step, by the run's seed, the step and the rank.

    So a resumed run draws the very augmentation, noise and timesteps that an unbroken one draws,
    with no generator's state to be stored, and what draws numbers between steps changes nothing.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed the step that begins."""
        torch.manual_seed(seed_for_step(self.seed, engine.state.iteration, ranks.rank()))


class StepGuard:
    """Clips the gradient, and stops before a step that would spoil the weights.

    The gradient is the average over all ranks here, so that all of them stop together.

    Args:
        network: the network in training.
        max_norm: length that a gradient is cut to.
        checkpoint: where the run can be resumed from, for the message.
    """

    def __init__(self, network: nn.Module, *, max_norm: float = 1.0, checkpoint: str = "") -> None:
        self.network = network
        self.max_norm = max_norm
        self.checkpoint = checkpoint

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip, or refuse the step.

        Raises:
            InputError: if the loss or the gradient is not finite.
        """
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
        if not math.isfinite(float(norm)):
            raise InputError(
                f"step {engine.state.iteration} was not taken: its loss is "
                f"{float(loss_of(engine)):.3g} and its gradient {float(norm):.3g}; the last good "
                f"state is kept in {self.checkpoint}, resume with a smaller --learning_rate"
            )


class TrainingBudget:
    """Warm-up and cosine decay of the learning rate over a budget of steps or of minutes.

    Progress is the larger of the used shares of steps and minutes, counted over all sessions of a
    resumed run; at 1 the training ends. Minutes are rank 0's, for the learning rate must be the
    same on every rank. Reading the data is not counted.

    Args:
        optimizer: its learning rate at construction is the peak.
        max_iterations: steps at most.
        max_minutes: minutes at most; None is no limit.
        warmup_iterations: steps of linear warm-up.

    Raises:
        InputError: if there is no budget, or a part of it is no number.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        max_iterations: int,
        max_minutes: float | None = None,
        warmup_iterations: int = 200,
    ) -> None:
        check_count("max_iterations", max_iterations)
        check_count("warmup_iterations", warmup_iterations, least=0)
        if max_minutes is not None and not (
            isinstance(max_minutes, int | float) and max_minutes > 0
        ):
            raise InputError(
                f"max_minutes is {max_minutes}; give more than 0, or null for no limit"
            )
        self.optimizer = optimizer
        self.peak = [group["lr"] for group in optimizer.param_groups]
        self.max_iterations = max_iterations
        self.max_minutes = max_minutes
        self.warmup_iterations = warmup_iterations
        self.iterations = 0
        self.seconds = 0.0
        self._last = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._end_if_used_up)
        engine.add_event_handler(Events.ITERATION_STARTED, self._set_learning_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)

    @property
    def progress(self) -> float:
        """Share of the budget that is used, 0 to 1."""
        steps = self.iterations / self.max_iterations
        minutes = 0.0 if self.max_minutes is None else self.seconds / 60 / self.max_minutes
        return min(1.0, max(steps, minutes))

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"iterations": self.iterations, "seconds": self.seconds, "peak": self.peak}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue counting where another session stopped.

        The peak is not taken over: a run may be resumed with another learning rate.
        """
        self.iterations = int(state_dict["iterations"])
        self.seconds = float(state_dict["seconds"])

    def _start(self, engine: Engine) -> None:  # noqa: ARG002
        self._last = time.monotonic()

    def _end_if_used_up(self, engine: Engine) -> None:
        # Only now has a checkpoint been loaded, if there was one.
        if self.progress >= 1:
            engine.terminate()

    def _set_learning_rate(self, engine: Engine) -> None:  # noqa: ARG002
        warmup = min(1.0, (self.iterations + 1) / max(1, self.warmup_iterations))
        factor = warmup * 0.5 * (1 + math.cos(math.pi * self.progress))
        for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = peak * factor

    def _count(self, engine: Engine) -> None:
        now = time.monotonic()
        self.seconds = ranks.from_rank_zero(self.seconds + now - self._last, engine.state.device)
        self._last = now
        self.iterations += 1
        if self.progress >= 1:
            engine.terminate()
