"""SUV factors from what happened, not from how a header writes it: shares no code with the package.

Times are given with their offset from UTC, so that the difference is that of the clocks on the wall
and nothing else; powers of two are computed by way of the natural logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

F18, C11, O15, CU64, ZR89, GA68 = 6586.2, 1223.4, 122.24, 45721.0, 282276.0, 4057.7
"""Half-lives in seconds."""


@dataclass(frozen=True)
class Happened:
    """What was done to the patient.

    Attributes:
        injected: ISO time with an offset from UTC.
        referred: the time that the values are corrected to.
        half_life: of the nuclide, seconds.
        weight_kg: of the patient.
        dose_mbq: injected.
        kbq: whether the stored values are in kBq/ml rather than Bq/ml.
        frame_s: length of the frame, where the values are those of its mean activity.
    """

    injected: str = "2024-03-05T10:00:00+00:00"
    referred: str = "2024-03-05T11:00:00+00:00"
    half_life: float = F18
    weight_kg: float = 70.0
    dose_mbq: float = 300.0
    kbq: bool = False
    frame_s: float = 0.0

    def factor(self) -> float:
        """Return what a value has to be multiplied with to become SUV by body weight."""
        passed = datetime.fromisoformat(self.referred) - datetime.fromisoformat(self.injected)
        rate = math.log(2) / self.half_life
        left = self.dose_mbq * 1e6 * math.exp(-rate * passed.total_seconds())
        if self.frame_s:
            # The mean over the frame, by Simpson's rule.
            count = 2000
            step = self.frame_s / count
            terms = [math.exp(-rate * step * k) for k in range(count + 1)]
            inner = 4 * sum(terms[1:-1:2]) + 2 * sum(terms[2:-1:2])
            left *= (terms[0] + terms[-1] + inner) / (3 * count)
        return (1000.0 if self.kbq else 1.0) * self.weight_kg * 1000.0 / left
