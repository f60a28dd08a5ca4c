"""Where the workers come from: this machine, a batch system, or a scheduler that is running.

- Here: one worker for each GPU, or CPU workers as memory and cores allow.
- SLURM, PBS, SGE, LSF: dask-jobqueue submits the workers as jobs, as a profile says. A profile is
  a YAML file with ``scheduler``, ``workers``, ``gpus`` and ``options``; the options go to
  dask-jobqueue as they are.
- By address: whoever has started the scheduler has started its workers.

Workers have the resource ``fusion``, one each, so that a worker makes one fusion at a time, and
those with a GPU the resource ``GPU``.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
import psutil
import torch
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from monai_ddfm.apps.cohort.profiles import BATCH_SYSTEMS, Profile, read_profile
from monai_ddfm.errors import InputError

__all__ = ["Site", "choose_site", "open_client"]

# Measured on the demo subject (2.6 million voxels, 1.1 GB), see docs/reference/outputs.md.
_WORKER_BYTES = 600_000_000
_VOXEL_BYTES = 220
_DASK = ("distributed", "tornado", "asyncio")
_CONFIG = {
    # A lost worker is reported at once; retries and their waiting are the engine's.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.admin.low-level-log-length": 100,
    "distributed.worker.profile.enabled": False,
}


@dataclass(frozen=True)
class Site:
    """Where a run takes place.

    Attributes:
        workers: how many fusions at a time; 0 if a running scheduler decides.
        threads: of each worker; 0 leaves it to the worker.
        gpus: one worker has one of these; empty for CPU.
        memory: bytes for each worker; 0 for no limit.
        profile: of a batch system.
        address: of a running scheduler.
    """

    workers: int
    threads: int = 0
    gpus: tuple[str, ...] = ()
    memory: int = 0
    profile: Profile | None = None
    address: str = ""

    @property
    def needs_gpu(self) -> bool:
        """Whether every fusion needs a worker with a GPU."""
        return bool(self.gpus) or bool(self.profile and self.profile.gpus)

    def __str__(self) -> str:
        if self.address:
            return f"the scheduler at {self.address}"
        if self.profile:
            return f"{self.workers} workers through {self.profile.scheduler}"
        kind = "GPU" if self.gpus else "CPU"
        return f"{self.workers} {kind} workers on this machine, {self.threads} threads each"


def choose_site(
    *,
    workers: int | None,
    profile: Path | None,
    address: str,
    device: str | None,
    voxels: int,
) -> Site:
    """Decide where a run takes place.

    Args:
        workers: as the user wants; None for as many as make sense.
        profile: file of a batch system's profile.
        address: of a running scheduler.
        device: as the user wants.
        voxels: of the largest MRI.

    Raises:
        InputError: the wishes contradict each other or cannot be met here.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--nprocs {workers} makes no sense; give 1 or more.")
    if profile and address:
        raise InputError("--profile and --scheduler exclude each other; give one of them.")
    if address:
        return Site(workers or 0, address=address)
    if profile:
        read = read_profile(profile)
        return Site(workers or read.workers, profile=read)
    wants_gpu = device is None or device.startswith("cuda")
    gpus = _gpus() if wants_gpu else ()
    if gpus and (device in (None, "cuda")):
        chosen = gpus[: workers or len(gpus)]
        return Site(len(chosen), _threads(len(chosen)), chosen)
    free = min(psutil.virtual_memory().available, MEMORY_LIMIT)
    fit = max(1, int(free // (_WORKER_BYTES + _VOXEL_BYTES * voxels)))
    count = workers or min(CPU_COUNT, fit)
    return Site(count, _threads(count), memory=int(free // count))


def _threads(workers: int) -> int:
    """Return the threads of each worker: the cores in equal shares, or what the user has set."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) else max(1, CPU_COUNT // workers)


def _gpus() -> tuple[str, ...]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in visible.split(",") if name]
    return tuple(names[:count]) if names else tuple(map(str, range(count)))


@contextmanager
def open_client(site: Site, work: Path) -> Iterator[Client]:
    """Start the workers and give a client of their scheduler; all ends with the block.

    Args:
        site: where.
        work: the work folder; the workers' own files and logs go there.

    Raises:
        InputError: the scheduler cannot be reached, or the batch system refuses the options.
    """
    with _silenced(), _client(site, work) as client:
        yield client


@contextmanager
def _client(site: Site, work: Path) -> Iterator[Client]:
    # Dask gives up a worker that is not back in this time. On this machine a lost one is started
    # again at once, but where there is much to do, imports alone take longer than Dask's 15 s.
    patience = "60s" if site.profile else "1d"
    with dask.config.set(_CONFIG | {"distributed.deploy.lost-worker-timeout": patience}):
        if site.address:
            with _connected(site.address) as client:
                yield client
            return
        with _deaf_children():
            cluster = _batch_cluster(site, work) if site.profile else _local_cluster(site, work)
        try:
            with Client(cluster) as client:
                yield client
        finally:
            cluster.close(timeout=20)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Have the processes that are started meanwhile, and by its threads later, not see Ctrl-C.

    A terminal sends it to all processes of a command. It is this one that ends the workers, which
    would tell of the interrupt in a traceback each.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started later, by the thread that starts the first worker, it would unblock that thread.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep Dask's own messages off the screen: the display tells what matters.

    Dask sets levels itself as it starts, so all of its loggers are put back, with those that it
    makes meanwhile.
    """
    before = {name: logging.getLogger(name).level for name in _dask_loggers()}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in _dask_loggers():
            logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


def _dask_loggers() -> list[str]:
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _DASK]
    return sorted({*_DASK, *known})


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout="15s")
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"no scheduler answers at {address}; start it, or correct --scheduler."
        ) from error
    with client:
        yield client


def _local_cluster(site: Site, work: Path) -> SpecCluster:
    def options(index: int) -> dict[str, Any]:
        threads = str(site.threads)
        env = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        resources = {"fusion": 1.0}
        if site.gpus:
            env["CUDA_VISIBLE_DEVICES"] = site.gpus[index]
            resources["GPU"] = 1.0
        return {
            "nthreads": 1,
            "memory_limit": site.memory,
            "resources": resources,
            "env": env,
            "local_directory": str(work / "dask"),
            "host": "127.0.0.1",
            "dashboard": False,
            "silence_logs": 50,
        }

    workers = {i: {"cls": Nanny, "options": options(i)} for i in range(site.workers)}
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": True,
            "dashboard_address": "127.0.0.1:0",
        },
    }
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50)


def _batch_cluster(site: Site, work: Path) -> Any:
    import dask_jobqueue  # noqa: PLC0415 - its configuration is read on import

    profile = site.profile
    assert profile is not None
    name = BATCH_SYSTEMS[profile.scheduler][0]
    given = dict(profile.options)
    resources = "fusion=1" + (f",GPU={profile.gpus}" if profile.gpus else "")
    extra = [*given.pop("worker_extra_args", ()), "--resources", f'"{resources}"']
    defaults = {
        "processes": 1,
        "log_directory": str(work / "logs"),
        "local_directory": str(work / "dask"),
    }
    try:
        cluster = getattr(dask_jobqueue, name)(
            **(defaults | given), worker_extra_args=extra, silence_logs="error"
        )
    except (TypeError, ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{profile.scheduler} refuses the options of the profile ({why}); correct them."
        ) from error
    # Adaptive with equal bounds: a job that ends or is killed is submitted again.
    cluster.adapt(minimum_jobs=site.workers, maximum_jobs=site.workers, interval="2s")
    return cluster
