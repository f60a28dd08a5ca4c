"""Profiles: how workers are submitted to a batch system, as a YAML file says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from monai_ddfm.errors import InputError
from monai_ddfm.utils.places import check_ordinary

__all__ = ["BATCH_SYSTEMS", "Profile", "read_profile"]

BATCH_SYSTEMS = {
    "slurm": ("SLURMCluster", "sbatch"),
    "pbs": ("PBSCluster", "qsub"),
    "sge": ("SGECluster", "qsub"),
    "lsf": ("LSFCluster", "bsub"),
}
"""Class of dask-jobqueue and the program it needs, by the name in a profile."""

_LARGEST = 100_000
_KEYS = ("scheduler", "workers", "gpus", "options")


@dataclass(frozen=True)
class Profile:
    """How workers are submitted to a batch system.

    Attributes:
        scheduler: one of `BATCH_SYSTEMS`.
        workers: jobs at a time.
        gpus: of each worker.
        options: of dask-jobqueue's class.
    """

    scheduler: str
    workers: int = 1
    gpus: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Loads YAML without aliases, a few of which can stand for billions of entries."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, unless it is an alias."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def read_profile(path: Path) -> Profile:
    """Read a profile and see that its batch system is installed.

    Raises:
        InputError: the file is no profile, or the batch system is not on this machine.
    """
    check_ordinary(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is too large for a profile; give another file.")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        if isinstance(error, InputError):
            raise
        why = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as YAML ({why}); check it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no profile; it needs the entries {', '.join(_KEYS)}.")
    if unknown := sorted(set(map(str, content)) - set(_KEYS)):
        raise InputError(f"{path} has an unknown entry {unknown[0]!r}; use {', '.join(_KEYS)}.")
    name = str(content.get("scheduler", "")).lower()
    if name not in BATCH_SYSTEMS:
        raise InputError(f"{path} names the scheduler {name!r}; use {', '.join(BATCH_SYSTEMS)}.")
    workers, gpus = content.get("workers", 1), content.get("gpus", 0)
    if not isinstance(workers, int) or workers < 1 or not isinstance(gpus, int) or gpus < 0:
        raise InputError(f"{path} has no usable number of workers and gpus; give whole numbers.")
    options = content.get("options") or {}
    if not isinstance(options, dict):
        raise InputError(f"{path} has options that are no list of names and values; correct them.")
    program = BATCH_SYSTEMS[name][1]
    if shutil.which(program) is None:
        raise InputError(
            f"{path} is for {name}, but {program} is not installed here; run on a machine that "
            "submits jobs, or without --profile."
        )
    return Profile(name, workers, gpus, options)
