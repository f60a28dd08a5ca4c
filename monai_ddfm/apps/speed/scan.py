"""The sampling loop over sizes, types and batches, and a whole run by its stages."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from monai_ddfm.apps.speed.machine import (
    Stopwatch,
    TimedNetwork,
    has_fast_bfloat16,
    peak_memory,
    wait,
)
from monai_ddfm.apps.speed.subjects import synthetic_volume
from monai_ddfm.inferers import DDFMInferer, Preset, preset_named
from monai_ddfm.workflow import fuse

__all__ = ["scan_sizes", "time_stages"]

_SIZES = {"cpu": (128, 256), "cuda": (256, 512)}
_SEVERAL_STEPS = 5
_REPEATS = 3
_BATCHES = {"cpu": (1, 4), "cuda": (1, 16, 64)}


def scan_sizes(
    network: nn.Module,
    device: torch.device,
    *,
    sizes: Sequence[int] | None = None,
    batches: Sequence[int] | None = None,
    bfloat16: bool | None = None,
) -> list[dict[str, Any]]:
    """Time one step of the preset "contrast" on synthetic slices, and what each more would take.

    Args:
        network: the prior.
        device: where it is.
        sizes: sides of the slices; None is a choice for the device.
        batches: slices at a time; likewise.
        bfloat16: in bfloat16 too; None where the device computes in it.

    Returns:
        For each size, type and batch ``slices per second`` (of which each takes one evaluation of
        the network), ``seconds per slice-step`` (of a further step), ``network share`` and
        ``peak bytes``.
    """
    sizes = sizes or _SIZES.get(device.type, _SIZES["cpu"])
    batches = batches or _BATCHES.get(device.type, _BATCHES["cpu"])
    lower = has_fast_bfloat16(device) if bfloat16 is None else bfloat16
    rows = []
    for side in sizes:
        volume = synthetic_volume(side, max(batches)).to(device)
        for dtype in ("float32", "bfloat16") if lower else ("float32",):
            for batch in batches:
                timing = partial(_seconds, network, volume, batch=batch, dtype=dtype)
                seconds, share = timing(preset_named("contrast"), steps=1)
                # In slices without noise the default begins so late that it has no room for more.
                from_noise = replace(preset_named("contrast"), start="noise")
                one, several = (timing(from_noise, steps=n)[0] for n in (1, _SEVERAL_STEPS))
                further = (several - one) / (_SEVERAL_STEPS - 1)
                rows.append(
                    {
                        "size": side,
                        "dtype": dtype,
                        "batch": batch,
                        "slices per second": volume.shape[-1] / seconds,
                        "seconds per slice-step": further / volume.shape[-1],
                        "network share": share,
                        "peak bytes": peak_memory(device),
                    }
                )
    return rows


def _seconds(
    network: nn.Module, volume: Tensor, preset: Preset, *, steps: int, batch: int, dtype: str
) -> tuple[float, float]:
    """Time the sampling of a volume; return the fastest run's seconds and the network's share."""
    device = volume.device
    timed = TimedNetwork(network, Stopwatch(device))
    inferer = DDFMInferer(
        preset=preset,
        steps=steps,
        batch_size=batch,
        autocast_dtype=dtype,
        crop_foreground=False,
    )
    inferer(volume[None, ..., :batch], timed)  # warms up
    peak_memory(device)  # begins anew
    # Threads add up, and no more of them are busy than there are slices.
    workers = min(batch, torch.get_num_threads()) if device.type == "cpu" else 1
    found = []
    for _ in range(_REPEATS):
        timed.watch = Stopwatch(device)
        wait(device)
        begin = perf_counter()
        inferer(volume[None], timed)
        wait(device)
        seconds = perf_counter() - begin
        found.append((seconds, timed.watch.seconds()["network"] / workers / seconds))
    return min(found)


def time_stages(
    fixed: Path, moving: Path, *, device: torch.device, prior: Path | None
) -> dict[str, float]:
    """Fuse a pair of files as the command does, registration and writing included.

    Args:
        fixed: the MRI.
        moving: the PET.
        device: of the network.
        prior: another prior than the bundle's.

    Returns:
        Seconds by stage, and their ``total``.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = fuse(
            fixed, moving, modality="PET", output_dir=folder, device=str(device), prior=prior
        )
        seconds: dict[str, float] = result.provenance["seconds"]
    return seconds
