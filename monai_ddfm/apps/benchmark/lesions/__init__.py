"""Methods judged by detection: lesions in the sources, and a model observer of the fusions.

`benchmark_lesions` does it all; what is measured is in `monai_ddfm.metrics.observer`.
"""

from __future__ import annotations

from monai_ddfm.apps.benchmark.lesions.run import LESION_METHODS, benchmark_lesions
from monai_ddfm.apps.benchmark.lesions.tables import LesionResult, LesionRow

__all__ = ["LESION_METHODS", "LesionResult", "LesionRow", "benchmark_lesions"]
