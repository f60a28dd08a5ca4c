"""The checkpoint of a training run: saved at intervals, resumed from, exported as a prior."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from ignite.engine import Engine, Events
from torch.optim.swa_utils import AveragedModel

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import Architecture, save_prior
from monai_ddfm.networks.priors.architecture import check_keys
from monai_ddfm.training import ranks
from monai_ddfm.training.files import save_atomically
from monai_ddfm.training.handlers import TrainingBudget

__all__ = ["Stateful", "TrainingCheckpoint"]

_log = logging.getLogger(__name__)
_ARCHITECTURE = "architecture"


class Stateful(Protocol):
    """Whatever has MONAI's and PyTorch's way of giving and taking its state."""

    def state_dict(self) -> dict[str, Any]:
        """Give what `load_state_dict` takes."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take a state over."""
        ...


class TrainingCheckpoint:
    """Saves and resumes a run, and exports the averaged network.

    A new run is saved before its first step, so that a folder that cannot be written, or has no
    room, shows at once. Every rank resumes, rank 0 saves.

    Args:
        path: the checkpoint, replaced as a whole; a run that finds it resumes from it.
        network: the network in training, not wrapped for distributed training.
        averaged: its average, whose network is exported as the prior.
        optimizer: the optimizer.
        budget: tells at which step a run resumes.
        export_path: the averaged network as a float16 prior, written with every checkpoint.
        every_minutes: time between checkpoints.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        network: ADMUNet,
        averaged: AveragedModel,
        optimizer: Stateful,
        budget: TrainingBudget,
        export_path: str | Path,
        every_minutes: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.averaged = averaged
        self.budget = budget
        self.objects: Mapping[str, Stateful] = {
            "network": network,
            "averaged": averaged,
            "optimizer": optimizer,
            "budget": budget,
        }
        self.export_path = Path(export_path)
        self.every_seconds = 60 * every_minutes
        self._saved = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def _start(self, engine: Engine) -> None:
        found = self.path.is_file()
        # No rank may find what rank 0 is about to write.
        ranks.barrier()
        if found:
            self._resume()
            engine.state.iteration = self.budget.iterations
            engine.state.epoch = self.budget.iterations // engine.state.epoch_length
        elif ranks.rank() == 0:
            self._save()
        self._saved = time.monotonic()

    def _resume(self) -> None:
        saved = _read(self.path)
        self._check(saved)
        try:
            for name, target in self.objects.items():
                target.load_state_dict(saved[name])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path}: made with other settings ({str(error).splitlines()[0]}); name "
                "another --output_dir"
            ) from error
        _log.info("resuming from %s at step %d", self.path, self.budget.iterations)

    def _check(self, saved: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of another network before anything is loaded."""
        mend = "resume with the network of that run or name another --output_dir"
        if missing := set(self.objects) - set(saved):
            raise InputError(
                f"{self.path}: no training checkpoint, it has no {min(missing)}; {mend}"
            )
        expected = {key: tuple(value.shape) for key, value in self.network.state_dict().items()}
        try:
            check_keys(expected, saved["network"], name=str(self.path))
        except InputError as error:
            raise InputError(f"{error}; {mend}") from error
        # Heads of attention, for one, leave no trace in the weights' shapes.
        theirs = saved.get(_ARCHITECTURE)
        ours = asdict(Architecture.of(self.network))
        if theirs is not None and theirs != ours:
            key = min(key for key in ours if theirs.get(key) != ours[key])
            raise InputError(
                f"{self.path}: its network has {key} {theirs.get(key)} where {ours[key]} is asked "
                f"for; {mend}"
            )

    def _step(self, engine: Engine) -> None:  # noqa: ARG002
        if ranks.rank() == 0 and time.monotonic() - self._saved >= self.every_seconds:
            self._save_and_export()

    def _complete(self, engine: Engine) -> None:  # noqa: ARG002
        if ranks.rank() == 0:
            self._save_and_export()
            _log.info("step %d: prior in %s", self.budget.iterations, self.export_path)

    def _save_and_export(self) -> None:
        # The export refuses weights that are not finite; the older checkpoint is then kept.
        try:
            self.export_path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.export_path}: its folder cannot be made ({error})") from error
        save_prior(cast(ADMUNet, self.averaged.module), self.export_path, dtype=torch.float16)
        self._save()
        self._saved = time.monotonic()

    def _save(self) -> None:
        state: dict[str, Any] = {name: value.state_dict() for name, value in self.objects.items()}
        state[_ARCHITECTURE] = asdict(Architecture.of(self.network))
        save_atomically(state, self.path)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged archive raises is not documented
        raise InputError(
            f"{path} is damaged or no checkpoint; put a copy back, or remove it to begin anew"
        ) from error
    if not isinstance(saved, Mapping):
        raise InputError(f"{path} is no training checkpoint; name another --output_dir")
    return saved
