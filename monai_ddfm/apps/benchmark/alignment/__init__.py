"""Registration judged: heads moved by known transforms, and what the verdicts say of them."""

from __future__ import annotations

from monai_ddfm.apps.benchmark.alignment.heads import KnownPair, find_known_pairs
from monai_ddfm.apps.benchmark.alignment.perturbations import KINDS, Perturbed, perturb
from monai_ddfm.apps.benchmark.alignment.run import benchmark_alignment
from monai_ddfm.apps.benchmark.alignment.tables import AlignmentResult

__all__ = [
    "KINDS",
    "AlignmentResult",
    "KnownPair",
    "Perturbed",
    "benchmark_alignment",
    "find_known_pairs",
    "perturb",
]
