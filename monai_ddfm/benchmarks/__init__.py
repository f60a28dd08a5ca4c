"""Methods side by side: fuse pairs by plain rules and by presets, measure, compare, draw.

`benchmark` does it all. What it compares is named in `monai_ddfm.benchmarks.methods`, where it
looks for pairs in `monai_ddfm.benchmarks.pairs`.
"""

from __future__ import annotations

from monai_ddfm.benchmarks.bundle import Prior, bundle_prior
from monai_ddfm.benchmarks.cases import Case, load_case
from monai_ddfm.benchmarks.methods import Method, identity_prior, parse_methods
from monai_ddfm.benchmarks.noise import Noise
from monai_ddfm.benchmarks.pairs import Pair, find_pairs
from monai_ddfm.benchmarks.run import benchmark
from monai_ddfm.benchmarks.tables import BenchmarkResult, MethodRow, RobustnessRow

__all__ = [
    "BenchmarkResult",
    "Case",
    "Method",
    "MethodRow",
    "Noise",
    "Pair",
    "Prior",
    "RobustnessRow",
    "benchmark",
    "bundle_prior",
    "find_pairs",
    "identity_prior",
    "load_case",
    "parse_methods",
]
