"""Methods judged by detection: lesions in the sources, and a model observer of the fusions.

`benchmark_lesions` does it all; `find_in_each` asks of the fusion of several volumes what is found
of each; what is measured is in `monai_ddfm.metrics.observer`.
"""

from __future__ import annotations

from monai_ddfm.apps.benchmark.lesions.run import LESION_METHODS, benchmark_lesions
from monai_ddfm.apps.benchmark.lesions.several import FoundInSource, find_in_each
from monai_ddfm.apps.benchmark.lesions.tables import LesionResult, LesionRow

__all__ = [
    "LESION_METHODS",
    "FoundInSource",
    "LesionResult",
    "LesionRow",
    "benchmark_lesions",
    "find_in_each",
]
