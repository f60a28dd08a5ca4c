r"""What rectifiers that mix a prior's estimate with noisy sources have in common.

The texture of slices that show no noise passes for noise of about :math:`\tau`. So noise of the
measured level :math:`\hat\sigma` counts for the variance :math:`\sigma^2 = \max(\hat\sigma^2 -
\tau^2, 0)`. Beside it the best share of the prior's estimate, whose own error is about
:math:`\sigma_0`, is

.. math::

    k = \frac{\sigma^2}{\sigma^2 + \sigma_0^2} .
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers.luminance import Luminance, check_luminance

__all__ = ["PriorUse"]


@dataclass(frozen=True, kw_only=True)
class PriorUse:
    """How a prior is used, and how far noise may widen the box between the sources.

    Attributes:
        prior_share: k, from 0 to 1; None chooses it by the noise.
        least_share: k is at least this where the noise chooses.
        prior_error: sigma_0, more than 0, on the scale from -1 to 1.
        texture_level: tau, at least 0, on the same scale.
        fidelity: 1 keeps every value in the box, 0 none.
        noise_margin: standard deviations of the noise by which the box is wider, finite and at
            least 0.
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if one of them is out of range.
    """

    prior_share: float | None = None
    least_share: float = 0.05
    prior_error: float = 0.025
    texture_level: float = 0.032
    fidelity: float = 1.0
    noise_margin: float = 0.0
    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        shares = {
            "prior share": self.prior_share,
            "least share": self.least_share,
            "fidelity": self.fidelity,
        }
        for text, value in shares.items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{text} {value!r} must lie between 0 and 1.")
        if not self.prior_error > 0 or not self.texture_level >= 0:
            raise InputError("prior error must be more than 0, and texture level not below 0.")
        if not 0 <= self.noise_margin < math.inf:
            raise InputError(
                f"noise margin {self.noise_margin!r} is unusable; give standard deviations of the "
                "sources' noise, 2 for example, or 0."
            )
        check_luminance(self.luminance)

    def power_beside_texture(self, noise_model: NoiseModel) -> float:
        """Return the variance of the noise less what passes for it in clean slices."""
        return max(noise_model.level**2 - self.texture_level**2, 0.0)

    def share_by_noise(self, noise_model: NoiseModel) -> float:
        """Return k as the noise chooses it."""
        power = self.power_beside_texture(noise_model)
        return max(power / (power + self.prior_error**2), self.least_share)
