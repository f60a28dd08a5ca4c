"""The machine: what it is, how fast its libraries compute at their best, and a stopwatch for it."""

from __future__ import annotations

import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import Likelihood, Plan
from monai_ddfm.likelihoods.scale_space import Spacing

__all__ = [
    "Stopwatch",
    "TimedLikelihood",
    "TimedNetwork",
    "arithmetic_peak",
    "describe_machine",
    "has_fast_bfloat16",
    "peak_memory",
    "wait",
]

_SIDES = {"cpu": 2048, "cuda": 8192}
_BATCHES = {"cpu": 4, "cuda": 64}


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, device, threads and versions."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 rather than by way of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.is_file() else ""
    return "avx512_bf16" in text or "amx_bf16" in text


def arithmetic_peak(device: torch.device, dtype: torch.dtype, *, repeats: int = 5) -> float:
    """Return the operations per second of a large matrix product or convolution.

    Their libraries differ: on some CPUs the convolutions of oneDNN use wider instructions than the
    matrix product of MKL. The better one counts, the best of some repeats.

    Args:
        device: where to compute.
        dtype: of the values.
        repeats: of each; one more comes before them.
    """
    side = _SIDES.get(device.type, 2048)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = _shortest(lambda: one @ other, device, repeats)
    channels, width, batch = 256, 64, _BATCHES.get(device.type, 4)
    images = torch.randn(batch, channels, width, width, device=device).to(dtype)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    images, weight = (x.contiguous(memory_format=torch.channels_last) for x in (images, weight))
    convolution = _shortest(
        lambda: nn.functional.conv2d(images, weight, padding=1), device, repeats
    )
    return max(2 * side**3 / product, 2 * 9 * channels**2 * width**2 * batch / convolution)


@torch.no_grad()
def _shortest(compute: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of some repeats, after one to warm up."""
    compute()
    best = float("inf")
    for _ in range(repeats):
        wait(device)
        begin = time.perf_counter()
        compute()
        wait(device)
        best = min(best, time.perf_counter() - begin)
    return best


def peak_memory(device: torch.device) -> int:
    """Return the peak bytes of the device since the last call, or of this process on a CPU."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return int(peak)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Stopwatch:
    """Adds up the time of blocks by name, in several threads, without making a GPU wait.

    Args:
        device: where the blocks compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, Any, Any]] = []

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        """Time a block."""
        if self.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self._events.append((name, begin, end))
            return
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def seconds(self) -> dict[str, float]:
        """Return the sums by name; threads add up."""
        wait(self.device)
        total = dict(self._seconds)
        for name, begin, end in self._events:
            total[name] = total.get(name, 0.0) + begin.elapsed_time(end) / 1000
        return total


class TimedNetwork(nn.Module):
    """A network whose calls are timed and counted.

    Args:
        network: the prior.
        watch: takes the times.
    """

    def __init__(self, network: nn.Module, watch: Stopwatch) -> None:
        super().__init__()
        self.network = network
        self.watch = watch
        self.images: list[tuple[int, tuple[int, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        """Look what this module does not have up in the network."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def timing(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls are timed by the stopwatch there then is."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.watch.block(name):
                return work(*args, **kwargs)

        return timed

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """Call the network."""
        self.images.append((len(x), tuple(x.shape[1:])))
        with self.watch.block("network"):
            output: Tensor = self.network(x, timesteps)
        return output


class TimedLikelihood:
    """A likelihood whose rectifiers, and whose fusion of estimates, are timed.

    Args:
        likelihood: the likelihood.
        timed: its stopwatch takes the times.
    """

    def __init__(self, likelihood: Likelihood, timed: TimedNetwork) -> None:
        self.likelihood = likelihood
        self.timed = timed
        self.measures_noise = likelihood.measures_noise
        self.starts_from_sources = likelihood.starts_from_sources

    def on_grid(self, spacing: Spacing) -> TimedLikelihood:
        """Return the likelihood for pixels of a size in mm, timed too."""
        return TimedLikelihood(self.likelihood.on_grid(spacing), self.timed)

    def takes(self, moving: int) -> bool:
        """Return whether it fuses so many moving sources."""
        return self.likelihood.takes(moving)

    def plan(self, noises: tuple[NoiseModel, ...] | None, *, always: bool = False) -> Plan:
        """Return the likelihood's plan, timed."""
        plan = self.likelihood.plan(noises, always=always)
        runs = tuple(
            replace(run, rectifier=run.rectifier and _TimedRectifier(run.rectifier, self.timed))
            for run in plan.runs
        )
        fuse = plan.fuse
        timed = None if fuse is None else self.timed.timing("rectifier", fuse)
        return replace(plan, runs=runs, fuse=timed)


class _TimedRectifier:
    """A rectifier whose calls are timed."""

    def __init__(self, rectifier: Any, timed: TimedNetwork) -> None:
        self.for_noise, self.mode = (getattr(rectifier, n, None) for n in ("for_noise", "mode"))
        self.initial_state = timed.timing("rectifier", rectifier.initial_state)
        self.step = timed.timing("rectifier", rectifier.step)


def wait(device: torch.device) -> None:
    """Wait until a GPU has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
