"""Registration judged: heads and bodies moved by known transforms, and the verdicts on them."""

from __future__ import annotations

from monai_ddfm.apps.benchmark.alignment.heads import KnownPair, find_known_pairs
from monai_ddfm.apps.benchmark.alignment.perturbations import (
    BODY_KINDS,
    KINDS,
    Perturbed,
    perturb,
)
from monai_ddfm.apps.benchmark.alignment.run import benchmark_alignment
from monai_ddfm.apps.benchmark.alignment.tables import AlignmentResult

__all__ = [
    "BODY_KINDS",
    "KINDS",
    "AlignmentResult",
    "KnownPair",
    "Perturbed",
    "benchmark_alignment",
    "find_known_pairs",
    "perturb",
]
