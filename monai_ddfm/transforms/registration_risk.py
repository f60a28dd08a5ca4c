r"""The probability that a rigid registration has failed, from all its figures together.

Logistic regression on features :math:`x_k`, each standardized with the mean and the deviation of
the perturbations that it was fitted on,

.. math::

    P = \frac{1}{1 + e^{-z}}, \qquad z = b + \sum_k w_k \frac{x_k - m_k}{s_k} .

Failed means: more than 5 mm off on average over the head, or the head of somebody else. The
numbers were made by the two commands in `COMMANDS`; how well they are calibrated on heads that they
have not seen is in the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["COMMANDS", "FEATURES", "SIGNS", "failure_probability", "features"]

FEATURES: Final = (
    "dependence",
    "agreement",
    "rival",
    "sharpness",
    "stretch",
    "affine gain",
    "not covered",
)
"""What is looked at, in this order."""

SIGNS: Final = (-1, -1, 1, -1, 1, 1, 1)
"""Whether more of it makes failure less likely (-1) or more."""

COMMANDS: Final = (
    "monai-ddfm benchmark heads --perturbations 225 --seed 1 --output-dir fitted",
    "python -m monai_ddfm.apps.benchmark.alignment.calibration fitted/alignment.json",
)
"""How the numbers below were made."""

_BIAS = -2.5890
_MEANS = (-1.4396, 0.7162, 0.5731, 0.3866, 0.0329, 0.0857, 0.1490)
_DEVIATIONS = (0.4203, 0.3795, 0.1929, 0.1331, 0.0580, 0.1575, 0.2446)
_WEIGHTS = (0.0000, -0.8074, 0.0000, -0.9958, 2.0834, 0.0633, 0.0000)


def features(figures: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the features of a registration.

    Args:
        figures: the report of a searched registration, see `RegistrationQuality`.

    Returns:
        A number for each of `FEATURES`. All are bounded, so that nothing outside what was fitted
        can outweigh the rest.
    """
    stretches = figures["wanted_stretch"] or (1.0,)
    wanted = max(abs(math.log(max(s, 1e-3))) for s in stretches)
    gain = min(max(figures["affine_gain"] or 0.0, 0.0), 0.5)
    return (
        math.log(min(max(figures["dependence"], 0.01), 1.0)),
        figures["agreement"],
        min(max(figures["rival_score"] or 0.0, 0.0), 1.5),
        min(max(figures["sharpness"], 0.0), 1.0),
        min(wanted, 0.3) * min(gain / 0.1, 1.0),
        gain,
        1.0 - figures["head_covered"],
    )


def failure_probability(figures: Mapping[str, Any]) -> float:
    """Return the probability that the registration with these figures has failed, 0 to 1.

    Args:
        figures: the report of a searched registration, see `RegistrationQuality`.
    """
    z = _BIAS
    for x, mean, deviation, weight in zip(
        features(figures), _MEANS, _DEVIATIONS, _WEIGHTS, strict=True
    ):
        z += weight * (x - mean) / deviation
    return 1 / (1 + math.exp(-min(max(z, -30.0), 30.0)))
