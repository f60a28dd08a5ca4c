r"""Internal noise and human contrast thresholds, on one scale.

The internal noise of the observer is a standard deviation in gray levels, 0 to 1, of a channel with
unit norm. Two published kinds of measurement say how large it should be:

*Thresholds on uniform background.* A calibrated medical display spreads its gray levels evenly over
just noticeable differences (JND), the Grayscale Standard Display Function of DICOM [1]. From the
luminance L in cd/m^2, the index of JND is a polynomial in :math:`\log_{10} L`; a display of 1 to
350 cd/m^2 has 582 of them. A lesion g of contrast k has d' = k |T g| / sigma there, with the
templates T, so that a threshold contrast and an internal noise determine each other:
`threshold_contrast` and `noise_for_threshold`. One JND for the standard target, a long look at a
known place, gives the least internal noise that a reader may have.

*Noise that the image induces.* In images with random structure human efficiency falls below the
ideal by more than the noise on uniform background explains: the internal noise grows with the
spread that the images cause in the decision, to a ratio of standard deviations of .75 [2].
`induced_noise` gives it for measured channel outputs. It is the largest that is found.

For lesions of 4 to 25 pixels the first is .008 to .014, the second .13 to .54 in registered brain
pairs. The default of .05 lies between the two, and `docs/concepts/detection.md` says more. The
ranking of methods is always shown for half and for double of it as well.

References:
    [1] DICOM PS3.14, Grayscale Standard Display Function, section 7.1, after P. G. J. Barten.
    [2] A. E. Burgess, B. Colborne, Visual signal detection IV: observer inconsistency, JOSA A 5
        (1988).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer.channels import Channels, channel_outputs
from monai_ddfm.metrics.observer.places import Place
from monai_ddfm.metrics.observer.signals import Lesion, lesion_profile

__all__ = [
    "INDUCED_RATIO",
    "induced_noise",
    "jnd_index",
    "noise_for_threshold",
    "threshold_contrast",
]

INDUCED_RATIO: Final = 0.75
"""Internal over external standard deviation of a human decision in noisy images."""

# Coefficients of the powers of log10 L, from PS3.14.
_JND: Final = (
    71.498068,
    94.593053,
    41.912053,
    9.8247004,
    0.28175407,
    -1.1878455,
    -0.18014349,
    0.14710899,
    -0.017046845,
)


def jnd_index(luminance: float) -> float:
    """Return the index of just noticeable differences at a luminance.

    Args:
        luminance: in cd/m^2, 0.05 to 4000.

    Raises:
        InputError: if the luminance is out of range.
    """
    if not 0.05 <= luminance <= 4000:
        raise InputError(f"a luminance of {luminance:g} cd/m^2 is unusable; give 0.05 to 4000.")
    exponent = math.log10(luminance)
    return sum(factor * exponent**power for power, factor in enumerate(_JND))


def threshold_contrast(
    lesion: Lesion,
    *,
    internal_noise: float,
    detectability: float = 1.0,
    channels: Channels | None = None,
) -> float:
    """Return the contrast at which a lesion on uniform background has a given d'.

    Args:
        lesion: of which shape and width, with pixels of 1 mm; its contrast is not used.
        internal_noise: of the observer, more than 0.
        detectability: d' at threshold; 1.4 is 84 % of two alternatives.
        channels: those of the observer.

    Returns:
        In units of the gray scale from 0 to 1.
    """
    return detectability * internal_noise / _seen(lesion, channels)


def noise_for_threshold(
    lesion: Lesion,
    *,
    contrast: float,
    detectability: float = 1.0,
    channels: Channels | None = None,
) -> float:
    """Return the internal noise with which a lesion on uniform background has a given d'.

    Args:
        lesion: see `threshold_contrast`.
        contrast: at threshold, in units of the gray scale from 0 to 1.
        detectability: d' at threshold.
        channels: those of the observer.
    """
    return contrast * _seen(lesion, channels) / detectability


def induced_noise(absent: Tensor, *, ratio: float = INDUCED_RATIO) -> float:
    """Return the internal noise that images induce by their own structure.

    Args:
        absent: channel outputs of places without a lesion, [S, C].
        ratio: of internal to external standard deviation.

    Returns:
        `ratio` times the geometric mean of the channels' standard deviations, in the same unit.
    """
    return ratio * float(absent.double().std(0).log().mean().exp())


def _seen(lesion: Lesion, channels: Channels | None) -> float:
    """Return |T g|: what all channels together get of a lesion of contrast 1."""
    bank = channels or Channels()
    middle = bank.patch
    profile = lesion_profile((2 * middle, 2 * middle), Place(middle, middle), lesion=lesion)
    center = torch.tensor([[middle, middle]])
    return float(channel_outputs(profile[None], center, channels=bank).norm())
