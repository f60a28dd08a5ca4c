r"""The channelized Hotelling observer: how well a lesion can be told from its absence.

Channel outputs v of places without (0) and with (1) a signal have means and covariances. The
observer [1, 2] takes the best linear combination of the channels, and adds noise of its own,
:math:`\sigma_i^2 I`, because nobody sees arbitrarily small differences:

.. math::
    d'^2 = \Delta\bar v^T \Big( \tfrac12 (K_0 + K_1) + \sigma_i^2 I \Big)^{-1} \Delta\bar v,
    \qquad \mathrm{AUC} = \Phi(d' / \sqrt 2)

d' is the distance of the two distributions of the decision in standard deviations: 0 is a guess, 1
an AUC of .76, 3 one of .98. Without internal noise it does not change when the images are scaled or
shifted, nor by any invertible linear map of the channels.

With S places and C channels, d'^2 from samples is too large by about 2 C / S where there is nothing
to be seen and the two sets of places are independent.

References:
    [1] K. J. Myers, H. H. Barrett, Addition of a channel mechanism to the ideal-observer model,
        JOSA A 4 (1987).
    [2] C. K. Abbey, H. H. Barrett, JOSA A 18 (2001), see `monai_ddfm.metrics.observer.channels`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["area_under_curve", "detectability", "resampled"]


def detectability(
    absent: Tensor, present: Tensor, *, internal_noise: float, counts: Tensor | None = None
) -> Tensor:
    """Return d' of the channelized Hotelling observer.

    Args:
        absent: channel outputs without the signal, [S, C].
        present: those with it, [S, C].
        internal_noise: standard deviation of the observer's noise in each channel, in units of the
            outputs, at least 0.
        counts: how often each place counts, [B, S] with sum S in each row, for bootstrap samples;
            None counts each once.

    Returns:
        float64 [], or [B] with `counts`; at least 0.

    Raises:
        InputError: if the internal noise is unusable, there are fewer than two places, or the
            covariance cannot be inverted.
    """
    if not (math.isfinite(internal_noise) and internal_noise >= 0):
        raise InputError(f"internal noise of {internal_noise:g} is unusable; give 0.05, say.")
    places, channels = absent.shape
    if places < 2:
        raise InputError(f"{places} places are too few for an observer; give more lesions.")
    weight = torch.ones(1, places, dtype=torch.float64) if counts is None else counts.double()
    mean_absent, spread_absent = _moments(absent.double(), weight)
    mean_present, spread_present = _moments(present.double(), weight)
    pooled = (spread_absent + spread_present) / 2
    pooled = pooled + internal_noise**2 * torch.eye(channels, dtype=torch.float64)
    difference = (mean_present - mean_absent)[..., None]
    try:
        square = (difference * torch.linalg.solve(pooled, difference)).sum((-2, -1))
    except RuntimeError:
        raise InputError(
            "the channels do not vary independently; give more lesions or some internal noise."
        ) from None
    found: Tensor = square.clamp_min(0).sqrt()
    return found[0] if counts is None else found


def area_under_curve(detectability: Tensor) -> Tensor:
    """Return the area under the ROC curve of an observer with this d': .5 is a guess.

    Args:
        detectability: d' of any shape.

    Returns:
        The same shape, in [0.5, 1] for d' of at least 0.
    """
    # Phi(x / sqrt 2) is (1 + erf(x / 2)) / 2.
    return (1 + torch.erf(detectability / 2)) / 2


def resampled(places: int, *, times: int, seed: int) -> Tensor:
    """Draw bootstrap samples of places, with replacement.

    Args:
        places: S, how many there are.
        times: B, how many samples.
        seed: same seed, same samples.

    Returns:
        How often each place was drawn, float64 [B, S]; each row has the sum S.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(places, (times, places), generator=generator)
    counts = torch.zeros(times, places, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts))


def _moments(outputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means [B, C] and covariances [B, C, C] of outputs [S, C] with weights [B, S]."""
    places, channels = outputs.shape
    # About the common mean, so that large means cancel before they are squared.
    center = outputs.mean(0)
    outputs = outputs - center
    mean = weight @ outputs / places
    products = (outputs[:, :, None] * outputs[:, None, :]).flatten(1)
    second = (weight @ products / places).reshape(-1, channels, channels)
    covariance = second - mean[:, :, None] * mean[:, None, :]
    return mean + center, covariance * places / (places - 1)
