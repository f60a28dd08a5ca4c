"""What rectifiers that mix a prior's estimate with noisy sources have in common to refuse."""

from __future__ import annotations

import math

from monai_ddfm.errors import InputError

__all__ = ["check_prior_use"]


def check_prior_use(
    *,
    prior_share: float | None,
    least_share: float,
    prior_error: float,
    texture_level: float,
    fidelity: float,
    noise_margin: float,
) -> None:
    """Check how a prior is to be used, and how far noise may widen the box between the sources.

    Args:
        prior_share: share of the prior's estimate, 0 to 1; None chooses it by the noise.
        least_share: the least that the noise chooses, 0 to 1.
        prior_error: of the prior's estimate, more than 0, on the scale from -1 to 1.
        texture_level: what passes for noise in clean sources, at least 0, on the same scale.
        fidelity: 1 keeps every value in the box, 0 none.
        noise_margin: standard deviations of the noise, finite and at least 0.

    Raises:
        InputError: if one of them is out of range.
    """
    shares = {"prior share": prior_share, "least share": least_share, "fidelity": fidelity}
    for text, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{text} {value!r} must lie between 0 and 1.")
    if not prior_error > 0 or not texture_level >= 0:
        raise InputError("prior error must be more than 0, and texture level not below 0.")
    if not 0 <= noise_margin < math.inf:
        raise InputError(
            f"noise margin {noise_margin!r} is unusable; give standard deviations of the "
            "sources' noise, 2 for example, or 0."
        )
