"""Handlers that carry a training run through a time budget, kills and a bad step.

All attach to MONAI's `SupervisedTrainer`. Attach them in the order averaging, budget, checkpoint:
the checkpoint then holds what the others have just updated.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from monai.handlers import from_engine
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from monai_ddfm.checkpoints import save_prior
from monai_ddfm.errors import InputError

__all__ = [
    "AverageWeights",
    "TrainingBudget",
    "TrainingCheckpoint",
    "averaged_copy",
    "save_atomically",
]

_log = logging.getLogger(__name__)
_Tensors = tuple[Tensor, ...] | list[Tensor]


class Stateful(Protocol):
    """Whatever has MONAI's and PyTorch's way of giving and taking its state."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


def averaged_copy(network: nn.Module, *, decay: float = 0.9995) -> AveragedModel:
    """Exponential moving average of `network`, whose memory grows to ``decay`` as it is updated.

    Args:
        network: the network in training.
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


class TrainingBudget:
    """Warm-up and cosine decay of the learning rate over a budget of steps or of minutes.

    Progress is the larger of the used shares of steps and minutes, counted over all sessions of a
    resumed run; at 1 the training ends. A non-finite loss ends it at once.

    Args:
        optimizer: its learning rate at attachment is the peak.
        max_iterations: steps at most.
        max_minutes: minutes at most; None is no limit.
        warmup_iterations: steps of linear warm-up.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        max_iterations: int,
        max_minutes: float | None = None,
        warmup_iterations: int = 200,
    ) -> None:
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
        engine.add_event_handler(Events.ITERATION_STARTED, self._set_learning_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)

    @property
    def progress(self) -> float:
        """Share of the budget that is used, 0 to 1."""
        steps = self.iterations / self.max_iterations
        minutes = 0.0 if self.max_minutes is None else self.seconds / 60 / self.max_minutes
        return min(1.0, max(steps, minutes))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"iterations": self.iterations, "seconds": self.seconds, "peak": self.peak}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue counting where another session stopped."""
        self.iterations = int(state_dict["iterations"])
        self.seconds = float(state_dict["seconds"])
        self.peak = list(state_dict["peak"])

    def _start(self, engine: Engine) -> None:
        self._last = time.monotonic()
        if self.progress >= 1:
            engine.terminate()

    def _set_learning_rate(self, engine: Engine) -> None:  # noqa: ARG002
        warmup = min(1.0, (self.iterations + 1) / self.warmup_iterations)
        factor = warmup * 0.5 * (1 + math.cos(math.pi * self.progress))
        for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = peak * factor

    def _count(self, engine: Engine) -> None:
        now = time.monotonic()
        self.seconds += now - self._last
        self._last = now
        self.iterations += 1
        if self.progress >= 1:
            engine.terminate()


class TrainingCheckpoint:
    """Saves and resumes a run, and exports the averaged network.

    Args:
        path: the checkpoint, replaced as a whole; a run that finds it resumes from it.
        objects: what to save by name; each has ``state_dict`` and ``load_state_dict``.
        averaged: its network is exported as the prior.
        export_path: the averaged network as a float16 prior, written with every checkpoint.
        every_minutes: time between checkpoints.
    """

    def __init__(
        self,
        path: str | Path,
        objects: Mapping[str, Stateful],
        *,
        averaged: AveragedModel,
        export_path: str | Path,
        every_minutes: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self.objects = dict(objects)
        self.averaged = averaged
        self.export_path = Path(export_path)
        self.every_seconds = 60 * every_minutes
        self._saved = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self._resume)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _resume(self, engine: Engine) -> None:  # noqa: ARG002
        if not self.path.is_file():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        try:
            for name, target in self.objects.items():
                target.load_state_dict(saved[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.path}: made with other settings or another network "
                f"({str(error).splitlines()[0]}); choose another output folder or remove it"
            ) from error
        _log.info("resumed from %s", self.path)

    def _step(self, engine: Engine) -> None:
        loss = float(from_engine("loss", first=True)(engine.state.output))
        if not math.isfinite(loss):
            raise InputError(
                f"the loss became {loss}; the last good state is kept in {self.path}: "
                "resume with a smaller learning rate"
            )
        if time.monotonic() - self._saved >= self.every_seconds:
            self._save(engine)

    def _save(self, engine: Engine) -> None:  # noqa: ARG002
        state = {name: source.state_dict() for name, source in self.objects.items()}
        save_atomically(state, self.path)
        save_prior(self.averaged.module, self.export_path, dtype=torch.float16)
        self._saved = time.monotonic()


def save_atomically(content: Any, path: Path) -> None:
    """`torch.save` to a temporary name beside `path`, then rename.

    Args:
        content: what to save.
        path: final name; its folder is made if need be.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"{path}: cannot be written ({error}); free space or name another"
        ) from error
