"""How much a recovery from partial volumes brings back of spheres whose truth is known.

`benchmark_recovery` simulates heads with spheres in them (`monai_ddfm.apps.demo.spheres`),
registers and recovers their PET or SPECT as a fusion does, and compares with the true uptake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.apps.recovery.run import RecoveryResult, benchmark_recovery
from monai_ddfm.utils.former_names import renamed

__all__ = ["RecoveryResult", "benchmark_recovery"]

if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(__name__, {"bench_recovery": "benchmark_recovery"})
