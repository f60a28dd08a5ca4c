"""Whether the intervals of `--samples` hold the truth as often as they say, on simulated heads.

`benchmark_samples` simulates heads whose clean images and true motion are known, fuses them with
samples as a run does, and compares with the fusion of the clean images where they truly lie.
"""

from __future__ import annotations

from monai_ddfm.apps.samples.run import SamplesResult, benchmark_samples

__all__ = ["SamplesResult", "benchmark_samples"]
