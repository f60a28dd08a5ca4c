"""Which intensities of a volume are shown: windows, as they are written on a command line.

========================  =======================================================================
``brain``                 a CT window by name, see `CT_WINDOWS`
``fusion``                the CT window for fusion with an MRI of the head, see `FUSION_KNOTS`
``body``                  the same for the body, see `BODY_KNOTS`
``40/80``                 center and width
``0..10``                 black and white, in the units of the volume
``1%..99%``               percentiles inside the head; may be mixed, as in ``0..99.9%``
``air..99.5%``            black is where the noise of the air around the head ends
``maximum``               the same as ``0..100%``
``cerebellum``            from zero to 1.2 times the mean inside a reference mask
========================  =======================================================================

References:
    [1] Murphy et al.: Windowing (CT). Radiopaedia.org, rID 52108, https://doi.org/10.53347/rID-52108
        (level and width for brain, subdural, stroke, bone and soft tissue of the head).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import DEFAULT, as_list

__all__ = [
    "BODY_KNOTS",
    "BODY_WINDOWS",
    "BONE_HU",
    "CT_WINDOWS",
    "DEFAULT_WINDOWS",
    "FUSION_KNOTS",
    "KNOTS",
    "WITHOUT_HU",
    "Window",
    "finding_level",
    "finding_levels",
    "parse_window",
]

CT_WINDOWS: Final = {
    "brain": (40.0, 80.0),
    "subdural": (75.0, 215.0),
    "stroke": (40.0, 40.0),
    "bone": (600.0, 2800.0),
    "soft_tissue": (50.0, 350.0),
}
"""Center and width in HU of the named CT windows [1]."""

FUSION_KNOTS: Final = ((-20.0, 100.0, 1500.0), (-1.0, 0.0, 1.0))
"""HU and values of the CT window "fusion".

A straight window that shows bone leaves a twentieth of the range to the 80 HU of the brain, and a
brain window makes all bone one white. So the lower half of the range goes to -20..100 HU, where
brain is dark and a hemorrhage brighter, and the upper half to 100..1500 HU, diploe to cortex.
"""

BODY_KNOTS: Final = ((-160.0, 250.0, 1500.0), (-1.0, 1.5 / 14, 1.0))
"""HU and values of the CT window "body".

In a trunk fat is tissue, not background, and organs lie between it and contrasted vessels: they get
the lower half, which is the clinic's abdominal window of -160 to 240 HU. Bone begins at the same
gray as in the window "fusion" (250 HU), so that what counts as a finding does not change.
"""

KNOTS: Final = {"fusion": FUSION_KNOTS, "body": BODY_KNOTS}
"""HU and values of the CT windows with more than one straight piece."""

BODY_WINDOWS: Final = {Modality.CT: "body", Modality.PET: "0..99%"}
"""The windows of a body when none is asked for, where they are not those of a head.

The bladder and the kidneys hold more of many tracers than all else, and fill more than 0.1 percent
of a trunk.
"""

DEFAULT_WINDOWS: Final = {modality: modality.row.window for modality in Modality}
"""The window of each modality when none is asked for."""

WITHOUT_HU: Final = "0.5%..99.5%"
"""The window of a CT that is known not to be in HU when none is asked for."""

CEREBELLUM_SHARE: Final = 1.2
"""The white of the window "cerebellum" in means of the reference region."""

BONE_HU: Final = 250.0
"""Above it in HU is bone; trabecular bone begins there, calcified and contrasted tissue apart."""

_AIR_PERCENTILE: Final = 0.5

_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_RANGE = re.compile(rf"(?:(air)|{_NUMBER}\s*(%?))\s*\.\.\s*{_NUMBER}\s*(%?)")
_CENTER = re.compile(rf"{_NUMBER}\s*/\s*{_NUMBER}")


@dataclass(frozen=True)
class Window:
    """What is black and what is white, before the volume is known.

    Attributes:
        spec: the text it was parsed from.
        lower: the intensity or percentile of black.
        upper: the intensity or percentile of white.
        percents: which of the two is a percentile.
        from_air: whether black is where the noise of the air ends, and `lower` the percentile that
            stands in for it if there is no air.
        reference: whether `upper` is a multiple of the mean inside a reference mask.
    """

    spec: str
    lower: float
    upper: float
    percents: tuple[bool, bool] = (False, False)
    from_air: bool = False
    reference: bool = False


def parse_window(spec: str | None, modality: Modality) -> Window:
    """Read a window as it is written on the command line or in a configuration.

    Args:
        spec: see the head of this module; None for the default of the modality.
        modality: what the volume was measured with.

    Returns:
        The window.

    Raises:
        InputError: if it cannot be read, is empty, or does not belong to the modality.
    """
    text = DEFAULT_WINDOWS[modality] if spec is None else str(spec).strip()
    plain = text.lower().replace("-", "_").replace(" ", "_")
    if modality is Modality.CT and plain in KNOTS:
        return Window(plain, KNOTS[plain][0][0], KNOTS[plain][0][-1])
    if modality is Modality.CT and plain in CT_WINDOWS:
        center, width = CT_WINDOWS[plain]
        return Window(plain, center - width / 2, center + width / 2)
    if modality is not Modality.CT and plain == "maximum":
        return Window(plain, 0.0, 100.0, (False, True))
    if modality.has_color and plain == "cerebellum":
        return Window(plain, 0.0, CEREBELLUM_SHARE, reference=True)
    if found := _CENTER.fullmatch(text):
        center, width = float(found[1]), float(found[2])
        window = Window(text, center - width / 2, center + width / 2)
    elif found := _RANGE.fullmatch(text.lower()):
        from_air, upper = bool(found[1]), float(found[4])
        lower = _AIR_PERCENTILE if from_air else float(found[2])
        percents = (from_air or bool(found[3]), bool(found[5]))
        window = Window(text, lower, upper, percents, from_air=from_air)
    else:
        raise InputError(f"window {text!r} is unknown for {modality}; {_known(modality)}.")
    _check(window)
    return window


def finding_level(modality: str, spec: str | None = None) -> float | None:
    """Return the gray level from which the brightness of a source is a finding, if units tell.

    Args:
        modality: what the volume was measured with.
        spec: its window, as `parse_window` takes it.

    Returns:
        The gray level of `BONE_HU` in a CT, 0 to 1; None for other modalities, in a window by
        percentiles, and in one in which bone is black or white.

    Raises:
        InputError: if the window cannot be read.
    """
    # A modality that is none is refused where volumes are loaded.
    if str(modality).upper() != Modality.CT:
        return None
    window = parse_window(spec, Modality.CT)
    if any(window.percents):
        return None
    if window.spec in KNOTS:
        hounsfield, values = KNOTS[window.spec]
        return float((np.interp(BONE_HU, hounsfield, values) + 1) / 2)
    level = (BONE_HU - window.lower) / (window.upper - window.lower)
    return level if 0 < level < 1 else None


def finding_levels(modality: Any, spec: Any = None) -> float | list[float | None] | None:
    """Return `finding_level` of a volume, or of several.

    Args:
        modality: of a volume, or a list with that of each.
        spec: its window; of several volumes that of each, or None. What does not fit is refused
            where the volumes are listed (`monai_ddfm.sources`).

    Raises:
        InputError: if a window cannot be read.
    """
    kinds = as_list(modality)
    specs = [None if one == DEFAULT else one for one in as_list(spec)]
    specs += [None] * (len(kinds) - len(specs))
    levels = [finding_level(*each) for each in zip(kinds, specs, strict=False)]
    return levels[0] if len(levels) == 1 else levels


def _check(window: Window) -> None:
    """Refuse a window without width, or with percentiles that are none."""
    ends = (window.lower, window.upper)
    for end, percent in zip(ends, window.percents, strict=True):
        if not math.isfinite(end) or (percent and not 0 <= end <= 100):
            raise InputError(
                f"window {window.spec!r} must have finite ends, and percentiles from 0% to 100%."
            )
    same_kind = window.percents[0] == window.percents[1]
    if same_kind and not window.lower < window.upper:
        raise InputError(
            f"window {window.spec!r} is empty; give a positive width, as in '40/80' or '0..10'."
        )


def _known(modality: Modality) -> str:
    """Say what may be asked for."""
    names = modality.row.windows
    return (
        f"use {', '.join(names)}, center/width such as '40/80', a range such as '0..10' "
        "or percentiles such as '1%..99%'"
    )
