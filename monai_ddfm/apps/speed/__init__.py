"""What this machine does: sampling timed against a plain loop, and what it costs on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.apps.speed.benchmark import SpeedBenchmarkOptions, benchmark_speed
from monai_ddfm.apps.speed.report import write_speed_benchmark
from monai_ddfm.utils.former_names import renamed

__all__ = ["SpeedBenchmarkOptions", "benchmark_speed", "write_speed_benchmark"]

if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(
        __name__,
        {
            "BenchOptions": "SpeedBenchmarkOptions",
            "bench": "benchmark_speed",
            "write_bench": "write_speed_benchmark",
        },
    )
