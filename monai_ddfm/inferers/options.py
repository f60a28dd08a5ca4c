"""Options of the inferer and values of the sources, checked before any work is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.presets import Preset
from monai_ddfm.likelihoods.rectifiers import likelihood_of

__all__ = ["check_values", "checked_start", "smoothing", "startable", "tolerance", "visits"]

_MOST_SLICES = 10_000
# Rounding of a window or of an interpolation, beyond the ends of [-1, 1].
_OUTSIDE = 1e-3


def startable(preset: Preset, steps: int | None) -> Preset:
    """Start from noise where the rectifier has nothing else to start from.

    Raises:
        InputError: if nobody has said with how many steps, or a margin for noise is asked for
            where the noise is not measured.
    """
    rectifier = preset.rectifier
    likelihood = likelihood_of(rectifier)
    if likelihood.measures_noise:
        return preset
    if preset.start != "sources":
        margin = getattr(rectifier, "noise_margin", 0.0)
        if margin > 0:
            raise InputError(
                f"noise margin {margin:g} is of noise that is measured only where "
                "sampling starts from the sources; leave it out, or the timesteps."
            )
        return preset
    if likelihood.starts_from_sources:
        return preset
    if steps is None:
        name = type(rectifier).__name__
        raise InputError(f"{name} cannot start from the sources; say how many steps from noise.")
    return replace(preset, start="noise")


def visits(given: Any) -> int | str:
    """Bring steps or timesteps to the form a preset has; what is neither is refused later.

    Args:
        given: a number, a text, or a sequence of numbers.
    """
    if isinstance(given, int | str) and not isinstance(given, bool):
        return given
    return ",".join(map(str, given)) if isinstance(given, Sequence) else str(given)


def checked_start(timestep: Any, num_timesteps: int) -> int | None:
    """Return a timestep to start from, or None.

    Raises:
        InputError: if it is none of the process.
    """
    if timestep is None:
        return None
    if not isinstance(timestep, int) or not 0 <= timestep < num_timesteps:
        raise InputError(
            f"start timestep {timestep!r} is unusable; give one of 0 to {num_timesteps - 1}."
        )
    return timestep


def smoothing(given: Any) -> float:
    """Return a standard deviation in slices.

    Raises:
        InputError: if it is no number, below 0, or more than any volume has.
    """
    known = isinstance(given, int | float) and not isinstance(given, bool)
    if not known or not 0 <= given <= _MOST_SLICES:
        raise InputError(
            f"smoothing across {given!r} slices is unusable; give 0 to {_MOST_SLICES}."
        )
    return float(given)


def tolerance(given: Any) -> float | None:
    """Return a change of luminance that counts as none, or None.

    Raises:
        InputError: if it is not a finite number of at least 0.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise InputError(f"early stop {given!r} is unusable; give a change of luminance, 0.01 say.")
    return float(given)


def check_values(images: Tensor) -> None:
    """Refuse sources whose values are not finite or beyond [-1, 1].

    Raises:
        InputError: they are.
    """
    if not bool(images.isfinite().all()):
        raise InputError("the sources hold NaN or infinite values; replace them first.")
    if float(images.abs().amax()) > 1 + _OUTSIDE:
        raise InputError(
            f"the sources reach from {float(images.amin()):g} to {float(images.amax()):g}; "
            "scale them to -1..1 first, with ScaleIntensityRange for example."
        )
