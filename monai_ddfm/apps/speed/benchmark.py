"""A plain loop and ours, one after the other, on the same slices with the same prior.

Every row samples the same volume. ``same frame`` computes exactly what the plain loop does and must
agree with it; the rows after it leave out what the program leaves out: background.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from monai_ddfm.apps.speed.costs import NetworkCost, network_cost
from monai_ddfm.apps.speed.machine import (
    Stopwatch,
    TimedLikelihood,
    TimedNetwork,
    arithmetic_peak,
    describe_machine,
    has_fast_bfloat16,
    peak_memory,
    wait,
)
from monai_ddfm.apps.speed.plain import plain_loop
from monai_ddfm.inferers import PRESETS, SPEEDS, DDFMInferer
from monai_ddfm.inferers.layout import SliceLayout, pad_to_frame
from monai_ddfm.likelihoods.rectifiers import likelihood_of
from monai_ddfm.networks.schedulers import NoiseSchedule
from monai_ddfm.version import __version__

__all__ = ["SpeedBenchmarkOptions", "benchmark_speed"]

_log = logging.getLogger(__name__)
_PUBLISHED_STEPS = 100
# Of the prior in sources that may show no noise; any share over 0 costs the same.
_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class SpeedBenchmarkOptions:
    """What is measured.

    Attributes:
        steps: of the plain loop and of the rows that are compared with it.
        batch_size: slices at a time, or "auto".
        compile: "default" or "graphs" adds rows with the compiled network.
        bfloat16: add rows in bfloat16; None where the device computes in it.
        speeds: speeds of the default preset to measure.
    """

    steps: int = 16
    batch_size: int | str = "auto"
    compile: str | None = None
    bfloat16: bool | None = None
    speeds: tuple[str, ...] = tuple(SPEEDS)


@dataclass
class _Bench:
    volume: Tensor
    network: nn.Module
    options: SpeedBenchmarkOptions
    rows: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[tuple[int, int], NetworkCost] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.volume.device

    @property
    def slices(self) -> int:
        return int(self.volume.shape[-1])


def benchmark_speed(
    volume: Tensor, network: nn.Module, options: SpeedBenchmarkOptions
) -> dict[str, Any]:
    """Measure.

    Args:
        volume: [2, H, W, D] in [-1, 1] on the device of the network.
        network: the prior.
        options: what is measured.

    Returns:
        ``machine``, ``when``, ``version``, ``volume``, ``network``, ``peaks`` (operations per
        second by type) and ``rows``.
    """
    run = _Bench(volume, network, options)
    run.peaks["float32"] = arithmetic_peak(run.device, torch.float32)
    lower = has_fast_bfloat16(run.device) if options.bfloat16 is None else options.bfloat16
    if lower:
        run.peaks["bfloat16"] = arithmetic_peak(run.device, torch.bfloat16)
    plain = _plain(run)
    for name, choices in _variants(run, lower=lower):
        _ours(run, name, plain=plain, **choices)
    parameters = sum(p.numel() for p in network.parameters())
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "machine": describe_machine(run.device),
        "volume": list(volume.shape),
        "network": {"parameters": parameters, "costs": [vars_of(c) for c in run.costs.values()]},
        "steps": options.steps,
        "peaks": run.peaks,
        "rows": run.rows,
    }


def vars_of(cost: NetworkCost) -> dict[str, Any]:
    """Return a cost as plain values, its size as one text."""
    height, width = cost.size
    return {
        "size": f"{height} x {width}",
        "operations": cost.operations,
        "weights": cost.weights,
        "features": cost.features,
    }


def _variants(run: _Bench, *, lower: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name every row and what is special about it."""
    kinds: list[tuple[str, str | None, str | None]] = [("float32", None, None)]
    if run.options.compile:
        kinds.append((f"float32, compiled ({run.options.compile})", None, run.options.compile))
    if lower:
        kinds.append(("bfloat16", "bfloat16", None))
    if lower and run.options.compile:
        label = f"bfloat16, compiled ({run.options.compile})"
        kinds.append((label, "bfloat16", run.options.compile))
    for label, dtype, compiled in kinds:
        how = {"dtype": dtype, "compiled": compiled}
        yield f"same frame, {label}", {**how, "preset": "reference", "crop": False}
        yield f"reference, {label}", {**how, "preset": "reference", "crop": True}
        for speed in run.options.speeds:
            yield f"{speed}, {label}", {**how, "preset": "default", "speed": speed, "crop": True}


def _plain(run: _Bench) -> Tensor:
    """Run the plain loop over every slice; returns luminance [H, W, D]."""
    schedule = NoiseSchedule.spaced(run.options.steps)
    divisor = int(getattr(run.network, "size_divisor", 1))
    slices = run.volume.movedim(3, 0)
    layout = SliceLayout.of(slices[:1], divisor=divisor, crop=False, together=True)
    framed = pad_to_frame(slices, layout.frame)
    channels = int(getattr(run.network, "image_channels", 1))
    noise = DDFMInferer(preset="reference", steps=1).sampling_noise
    start = noise.start([0], (channels, *layout.frame), run.device)
    timed = TimedNetwork(run.network, Stopwatch(run.device))
    plain_loop(framed[0], timed, schedule=NoiseSchedule.spaced(2), start=start)  # warms up
    peak_memory(run.device)
    watch = timed.watch = Stopwatch(run.device)
    timed.images.clear()
    wait(run.device)
    begin = time.perf_counter()
    fused = [plain_loop(one, timed, schedule=schedule, start=start) for one in framed]
    wait(run.device)
    seconds = time.perf_counter() - begin
    _add_row(run, "plain loop, float32", seconds, timed, watch, dtype="float32", workers=1)
    height, width = run.volume.shape[1:3]
    return torch.stack(fused, dim=-1)[:height, :width]


def _timed(rectifier: Any, timed: TimedNetwork) -> TimedLikelihood:
    """Return the rectifier with its calls timed; of the default one the prior always runs."""
    if likelihood_of(rectifier).measures_noise:
        rectifier = replace(rectifier, prior_share=_SHARE)
    return TimedLikelihood(likelihood_of(rectifier), timed)


def _ours(
    run: _Bench,
    name: str,
    *,
    plain: Tensor,
    preset: str,
    dtype: str | None,
    compiled: str | None,
    crop: bool,
    speed: str | None = None,
) -> None:
    watch = Stopwatch(run.device)
    network: Any = run.network
    if compiled:
        network = torch.compile(
            network, mode={"default": "default", "graphs": "reduce-overhead"}[compiled]
        )
    timed = TimedNetwork(network, watch)
    chosen = PRESETS[preset]
    chosen = replace(chosen, rectifier=_timed(chosen.rectifier, timed))
    inferer = DDFMInferer(
        preset=chosen,
        speed=speed,
        steps=None if speed else run.options.steps,
        autocast_dtype=dtype,
        batch_size=run.options.batch_size,  # type: ignore[arg-type]
        crop_foreground=crop,
    )
    warm_up = time.perf_counter()
    if compiled:
        inferer(run.volume[None], timed)  # every size of patch is compiled once
    else:
        DDFMInferer(steps=1, autocast_dtype=dtype)(run.volume[None, ..., :1], timed)
    warm_up = time.perf_counter() - warm_up
    peak_memory(run.device)
    fresh = timed.watch = Stopwatch(run.device)
    timed.images.clear()
    wait(run.device)
    begin = time.perf_counter()
    fused = inferer(run.volume[None], timed)[0, 0]
    wait(run.device)
    seconds = time.perf_counter() - begin
    workers = torch.get_num_threads() if run.device.type == "cpu" else 1
    row = _add_row(run, name, seconds, timed, fresh, dtype=dtype or "float32", workers=workers)
    row["warm-up seconds"] = warm_up
    if preset == "reference":
        off = (fused - plain).abs()
        row["largest difference from plain"] = float(off.max())
        row["mean difference from plain"] = float(off.mean())


def _add_row(
    run: _Bench,
    name: str,
    seconds: float,
    timed: TimedNetwork,
    watch: Stopwatch,
    *,
    dtype: str,
    workers: int,
) -> dict[str, Any]:
    evaluations = sum(count for count, _ in timed.images)
    operations = 0
    for count, shape in timed.images:
        size = (int(shape[1]), int(shape[2]))
        if size not in run.costs:
            run.costs[size] = network_cost(run.network, size)
        operations += count * run.costs[size].operations
    spent = {name: value / workers for name, value in watch.seconds().items()}
    network = spent.get("network", 0.0)
    row: dict[str, Any] = {
        "way": name,
        "seconds": seconds,
        "slices per second": run.slices / seconds,
        "evaluations": evaluations,
        "evaluations per second": evaluations / seconds,
        "operations": operations,
        "network share": network / seconds,
        "rectifier share": spent.get("rectifier", 0.0) / seconds,
        "share of peak in network": operations / network / run.peaks[dtype],
        "peak bytes": peak_memory(run.device),
    }
    first = run.rows[0] if run.rows else row
    row["times plain"] = first["seconds"] / seconds
    row["times plain of 100 steps"] = row["times plain"] * _PUBLISHED_STEPS / run.options.steps
    run.rows.append(row)
    _log.info("%s: %.1f s, %.2f x plain", name, seconds, row["times plain"])
    return row
