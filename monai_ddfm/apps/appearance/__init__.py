"""How a fusion reads, measured on simulated heads whose tissues and lesions are known.

`benchmark_demo` simulates heads in two scanners, brings them to one grid as a run does, fuses them
by several methods, and asks what is left of the contrast of tissues, of bone and of lesions; with
noise, also what several planes are worth.
"""

from __future__ import annotations

from monai_ddfm.apps.appearance.run import benchmark_demo
from monai_ddfm.apps.appearance.tables import AppearanceResult, AppearanceRow, NoiseRow

__all__ = ["AppearanceResult", "AppearanceRow", "NoiseRow", "benchmark_demo"]
