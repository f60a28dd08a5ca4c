"""What this machine does: sampling timed against a plain loop, and what it costs on paper."""

from __future__ import annotations

from monai_ddfm.apps.speed.bench import BenchOptions, bench
from monai_ddfm.apps.speed.report import write_bench

__all__ = ["BenchOptions", "bench", "write_bench"]
