"""How much a recovery from partial volumes brings back of spheres whose truth is known.

`bench_recovery` simulates heads with spheres in them (`monai_ddfm.apps.demo.spheres`), registers
and recovers their PET or SPECT as a fusion does, and compares with the true uptake.
"""

from __future__ import annotations

from monai_ddfm.apps.recovery.run import RecoveryResult, bench_recovery

__all__ = ["RecoveryResult", "bench_recovery"]
