"""Methods side by side: fuse pairs by plain rules and by presets, measure, compare, draw.

`benchmark` does it all, `benchmark_lesions` asks what a reader would find,
`benchmark_alignment` tries the registration on moved heads, `evaluate` measures one result that
already exists. What is compared is named in `monai_ddfm.apps.benchmark.methods`; how pairs
are found, in `monai_ddfm.apps.benchmark.pairs`.
"""

from __future__ import annotations

from monai_ddfm.apps.benchmark.alignment import AlignmentResult, benchmark_alignment
from monai_ddfm.apps.benchmark.bundle import Prior, bundle_prior
from monai_ddfm.apps.benchmark.cases import Case, load_case
from monai_ddfm.apps.benchmark.evaluation import evaluate
from monai_ddfm.apps.benchmark.lesions import LesionResult, LesionRow, benchmark_lesions
from monai_ddfm.apps.benchmark.methods import Method, identity_prior, parse_methods
from monai_ddfm.apps.benchmark.noise import Noise
from monai_ddfm.apps.benchmark.pairs import Pair, find_pairs
from monai_ddfm.apps.benchmark.run import benchmark
from monai_ddfm.apps.benchmark.tables import BenchmarkResult, MethodRow, RobustnessRow

__all__ = [
    "AlignmentResult",
    "BenchmarkResult",
    "Case",
    "LesionResult",
    "LesionRow",
    "Method",
    "MethodRow",
    "Noise",
    "Pair",
    "Prior",
    "RobustnessRow",
    "benchmark",
    "benchmark_alignment",
    "benchmark_lesions",
    "bundle_prior",
    "evaluate",
    "find_pairs",
    "identity_prior",
    "load_case",
    "parse_methods",
]
