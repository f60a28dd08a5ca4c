"""What a cohort costs beside its fusions, and what more workers bring: the command, timed.

The command ``cohort`` runs as a user runs it, in a process of its own, once for each number of
workers, one thread each. The overhead of a subject is the time from the moment it is handed out
until its record is back, less the time of the fusion in its provenance: hashes of the inputs,
results put in place, and the way to the worker and back. The median leaves out the first subject
of a worker, which waits for imports and for the prior; the mean has it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from monai_ddfm.apps.speed.machine import describe_machine
from monai_ddfm.errors import InputError
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.version import __version__

__all__ = ["CohortBenchmarkOptions", "benchmark_cohort", "cohort_table", "write_cohort_benchmark"]

_HEADS = 4
_COLUMNS = ("workers", "s in all", "s fusing", "x first", "s beside, median", "s beside, mean")


@dataclass(frozen=True)
class CohortBenchmarkOptions:
    """What is measured.

    Attributes:
        subjects: how many; a few simulated heads in turn.
        workers: numbers of workers, one run each.
        scale: factor on the edges of the demo's voxels, 1 to 4.
        device: where to fuse.
        prior: another prior than the bundle's.
    """

    subjects: int = 40
    workers: Sequence[int] = (1, 2)
    scale: float = 4.0
    device: str = "cpu"
    prior: Path | None = None


def benchmark_cohort(options: CohortBenchmarkOptions) -> dict[str, Any]:
    """Fuse made-up subjects with different numbers of workers, in a temporary folder.

    Args:
        options: what to measure.

    Returns:
        The machine, the options and a row for each run.

    Raises:
        InputError: a run fails.
    """
    with tempfile.TemporaryDirectory() as made:
        table = _made_up(Path(made), options)
        rows = [
            _row(table, Path(made) / f"out{count}", count, options) for count in options.workers
        ]
    for row in rows:
        row["times first"] = rows[0]["seconds"] / row["seconds"]
    return {
        "machine": describe_machine(torch.device(options.device)) | {"cores": os.cpu_count()},
        "version": __version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": asdict(options) | {"prior": options.prior and options.prior.name},
        "rows": rows,
    }


def cohort_table(result: dict[str, Any]) -> str:
    """Return the rows as a Markdown table, under a line that says where and when."""
    machine, options = result["machine"], result["options"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, device {machine['device']}, "
        f"PyTorch {machine['torch']}, monai_ddfm {result['version']}, {result['when'][:10]}; "
        f"{options['subjects']} subjects, demo at scale {options['scale']:g}, one thread a worker",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|" + "---|" * len(_COLUMNS),
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['workers']} | {row['seconds']:.1f} | {row['fusion seconds']:.1f} | "
            f"{row['times first']:.2f} | {row['overhead seconds, median']:.3f} | "
            f"{row['overhead seconds, mean']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def write_cohort_benchmark(result: dict[str, Any], folder: Path) -> None:
    """Write ``benchmark-cohort.json`` and ``benchmark-cohort.md``.

    Raises:
        InputError: the folder cannot be written to.
    """
    write_documents(folder / "benchmark-cohort", result, md=cohort_table(result))


def _made_up(folder: Path, options: CohortBenchmarkOptions) -> Path:
    """Write the subjects and the table of pairs."""
    from monai_ddfm.apps.demo import make_demo  # noqa: PLC0415 - needs the extra

    heads = [
        make_demo(folder / f"head{seed}", modality="PET", seed=seed, scale=options.scale)
        for seed in range(min(_HEADS, options.subjects))
    ]
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("subject", "fixed", "moving", "modality"))
        for number in range(options.subjects):
            head = heads[number % len(heads)]
            writer.writerow((f"{number + 1:04d}", head.fixed, head.moving, "PET"))
    return path


def _row(table: Path, out: Path, workers: int, options: CohortBenchmarkOptions) -> dict[str, Any]:
    call = [sys.executable, "-m", "monai_ddfm", "cohort", table, out, "participant"]
    call += ["--nprocs", workers, "--device", options.device, "--progress", "json"]
    call += ["--prior", options.prior.absolute()] if options.prior else []
    begin = time.monotonic()
    ended = subprocess.run(
        [str(word) for word in call],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    seconds = time.monotonic() - begin
    if ended.returncode:
        raise InputError(f"the cohort of made-up subjects was not fused: {_reason(ended)}")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    end = next(event for event in events if event["event"] == "end")
    beside = workers * end["seconds"] - end["fusion_seconds"]
    return {
        "workers": workers,
        "seconds": seconds,
        "engine seconds": end["seconds"],
        "fusion seconds": end["fusion_seconds"],
        "overhead seconds, median": end["overhead_seconds_per_case"],
        "overhead seconds, mean": beside / options.subjects,
    }


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    """Say why a cohort has failed: in its own words, or those of its first failed subject."""
    if said := ended.stderr.strip().splitlines():
        return said[-1].removeprefix("error: ")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    reasons = [event["reason"] for event in events if event.get("reason")]
    return reasons[0] if reasons else f"exit status {ended.returncode}."
