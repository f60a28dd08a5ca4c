"""From the figures of a registration to its verdict: ok, warn or refuse.

Each figure has limits of its own, and all of them together give a probability of failure (see
`registration_risk`), which has limits, too: many figures that are a little poor are worse than one.

That probability was fitted on heads. Of a body there is none, and what lies in it moves: outlines
and sizes are told, but not judged. The verdict is by what else there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from monai_ddfm.transforms.body_outline import Region
from monai_ddfm.transforms.registration_evidence import suspect_stretch

__all__ = ["NOT_CALIBRATED", "NOT_SEEN", "judge"]

Figures = Mapping[str, Any]
_Rule = tuple[bool, bool, str]  # refuse, warn, and why

_UNSEEN: Final = (
    "a {part} that is mirrored left to right",
    "the {part} of another person of much the same size and shape",
    "an error of a few millimeters, or of more where an image shows little",
)
NOT_SEEN: Final[Mapping[Region, tuple[str, ...]]] = {
    "head": tuple(text.format(part="head") for text in _UNSEEN),
    "body": (
        *(text.format(part="body") for text in _UNSEEN),
        "what has moved in the body since: breathing, bowel, the filling of the bladder",
    ),
}
"""What no figure sees: the report of every registration says so."""

NOT_CALIBRATED: Final = (
    "the probability of failure is not calibrated for this region: it was fitted on heads, and the "
    "verdict is by the other figures"
)
"""What the report of a searched registration of a body says."""

# Two limits: beyond the first a result is refused, beyond the second it is told.
_MIN_DEPENDENCE = (0.03, 0.08)
_MIN_AGREEMENT = (0.12, 0.3)
_MIN_COVERED = (0.05, 0.5)
_MAX_STRETCH = (1.5, 1.2)
_MIN_VOLUME_CHANGE = (0.0, 0.3)
_MAX_FAILURE = (0.5, 0.1)
_FAR_IN_ONE_FRAME = 30.0  # mm
_LARGE_TURN = 30.0  # degrees
_CLOSE_RIVAL = 0.9  # of the mutual information
_EQUAL_RIVAL = 0.95
_SKIN = 7.5  # mm: nearer to each other, both outlines are those of the skin
_MAX_SPREAD = 12.0  # mm


def judge(
    figures: Figures, *, same_frame: bool, region: Region = "head"
) -> tuple[list[str], list[str]]:
    """Return the reasons to refuse and the reasons to warn, as clauses.

    Args:
        figures: the fields of `RegistrationQuality` but for the verdict.
        same_frame: whether the headers state one frame of reference.
        region: what the volumes show.
    """
    rules = [*_of_place(figures, region)]
    if figures["agreement"] is not None:
        rules += _of_search(figures, region)
        rules += _of_size(figures) if region == "head" else []
        if same_frame:
            far = f"it moves the {region} by {figures['displacement_mm']:.0f} mm within one frame"
            rules.append((False, figures["displacement_mm"] > _FAR_IN_ONE_FRAME, far))
    if figures["volume_change"] is not None:
        least = figures["volume_change"][0]
        text = f"it compresses the {region} locally to {least:.2f} of its volume"
        rules.append((least <= _MIN_VOLUME_CHANGE[0], least < _MIN_VOLUME_CHANGE[1], text))
    refusals = [text for refuse, _, text in rules if refuse]
    warnings = [text for refuse, warn, text in rules if warn and not refuse]
    return refusals, warnings


def _of_place(figures: Figures, region: Region) -> list[_Rule]:
    searched = figures["agreement"] is not None
    covered = figures["head_covered"]
    rules = [
        (
            figures["fov_overlap"] <= 0,
            covered < _MIN_COVERED[1],
            f"the moving field of view covers {covered:.0%} of the fixed {region}",
        ),
        (
            searched and figures["dependence"] < _MIN_DEPENDENCE[0],
            figures["dependence"] < _MIN_DEPENDENCE[1],
            f"the volumes hardly predict each other (dependence {figures['dependence']:.3f})",
        ),
    ]
    if figures["stretch"] is not None:
        most = max(figures["stretch"][0], 1 / max(figures["stretch"][1], 1e-9))
        text = f"it stretches or shrinks the {region} by a factor of {most:.3g}"
        rules.append((searched and most > _MAX_STRETCH[0], most > _MAX_STRETCH[1], text))
    return rules


def _of_search(figures: Figures, region: Region) -> list[_Rule]:
    agreement, covered = figures["agreement"], figures["head_covered"]
    rules = [
        (
            agreement < _MIN_AGREEMENT[0],
            agreement < _MIN_AGREEMENT[1],
            f"searches from different starts disagree (agreement {agreement:.0%})",
        ),
        (
            covered < _MIN_COVERED[0],
            False,
            f"only {covered:.0%} of the fixed {region} is left to compare",
        ),
    ]
    risk = figures["failure_probability"]
    if risk is not None:
        text = f"its figures together are those of a failure with a probability of {risk:.0%}"
        rules.append((risk > _MAX_FAILURE[0], risk > _MAX_FAILURE[1], text))
    if figures["rotation_deg"] is not None:
        turned = f"it turns the {region} by {figures['rotation_deg']:.0f} degrees"
        rules.append((False, figures["rotation_deg"] > _LARGE_TURN, turned))
    if figures["rival_score"] is not None:
        rival = (
            f"the {region} turned by {figures['rival_turn_deg']:.0f} degrees fits nearly as well "
            f"(dependence {figures['rival_dependence']:.3f} against {figures['dependence']:.3f})"
        )
        # Of two that fit alike, the one that the headers speak for may pass.
        turned_away = (figures["rotation_deg"] or 0.0) > _LARGE_TURN
        equal = figures["rival_score"] > _EQUAL_RIVAL and turned_away
        rules.append((equal, figures["rival_score"] > _CLOSE_RIVAL, rival))
    return rules


def _of_size(figures: Figures) -> list[_Rule]:
    rules: list[_Rule] = []
    offset, spread = figures["outline_offset_mm"], figures["outline_spread_mm"]
    if offset is not None and spread is not None:
        text = f"the outlines of the heads disagree (by {offset:.0f} mm, give or take {spread:.0f})"
        # Where an image shows the brain alone its outline lies deep inside, and says little.
        skin = abs(offset) < _SKIN
        rules.append((False, offset > _SKIN or (skin and spread > _MAX_SPREAD), text))
    if figures["wanted_stretch"] is not None:
        far = max(figures["wanted_stretch"], key=lambda s: abs(s - 1))
        words = f"{abs(far - 1):.0%} {'larger' if far > 1 else 'smaller'}"
        text = (
            f"the moving head seems {words} in one direction: are the voxel sizes right, and is "
            "it the same head?"
        )
        suspect = suspect_stretch(figures["wanted_stretch"], figures["affine_gain"])
        rules.append((False, suspect, text))
    return rules
