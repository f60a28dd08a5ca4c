"""Where searches begin: near what the headers say, in other orientations, and far afield.

All are rigid transforms from points of the fixed to points of the moving volume, LPS mm.

A head may lie in any orientation. A body in a scanner lies along it: of the other orientations only
the three half turns are tried, which a wrong header makes (feet first, prone), and wide starts are
turned by less. But it is longer than what is seen of it, so centers say little along it: there
starts are slid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.registration_optimizer import linear
from monai_ddfm.transforms.similarity import JointHistogram, WorkingImage

__all__ = [
    "NEAR_TURN",
    "StartFrom",
    "cube_starts",
    "first_places",
    "near_starts",
    "slid_starts",
    "starts_about",
    "wide_starts",
]

StartFrom = Literal["auto", "headers", "centers"]
NEAR_TURN = 15.0
"""Degrees by which near starts are turned."""

_WIDE_TURNS = {"head": (30.0, -30.0, 50.0, -50.0), "body": (20.0, -20.0)}  # degrees
_SLIDE_STEP = 3.0  # working voxels
_SLIDES = 2  # starts that are slid
_REACH = 12  # working voxels by which wide starts are shifted
_EITHER_WAY = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])


def first_places(start: StartFrom, *, same_frame: bool) -> tuple[str, ...]:
    """Return about which places near starts lie: "headers", "centers" or both."""
    if start != "auto":
        return (start,)
    return ("headers",) if same_frame else ("headers", "centers")


def near_starts(fixed: WorkingImage, moving: WorkingImage, name: str) -> list[Any]:
    """Return the place by the headers, or the match of centers, and turns either way."""
    shift = np.zeros(3) if name == "headers" else moving.center - fixed.center
    return starts_about(fixed, _turned(fixed, np.eye(3), shift))


def slid_starts(
    fixed: WorkingImage, moving: WorkingImage, names: Sequence[str], score: JointHistogram
) -> list[Any]:
    """Return the best places along the body; none if the headers are the only place to begin at.

    Looked at are all shifts along the patient's long axis at which the two fields of view meet,
    with the sections' centers as they are, and as the headers have them.
    """
    if tuple(names) == ("headers",):
        return []
    reach = (np.ptp(fixed.corners[:, 2]) + np.ptp(moving.corners[:, 2])) / 2
    middle = float(moving.center[2] - fixed.center[2])
    step = _SLIDE_STEP * fixed.spacing
    shifts = middle + np.arange(-reach, reach + step, step)
    places: list[tuple[float, float, Any]] = []
    for aside in (np.zeros(2), (moving.center - fixed.center)[:2]):
        for along in shifts:
            place = _turned(fixed, np.eye(3), np.array([*aside, along]))
            places.append((score(place), float(along), place))
    best: list[tuple[float, float, Any]] = []
    for one in sorted(places, key=lambda p: -p[0]):
        if len(best) < _SLIDES and all(abs(one[1] - other[1]) > 2 * step for other in best):
            best.append(one)
    return [place for _, _, place in best]


def starts_about(fixed: WorkingImage, place: Any) -> list[Any]:
    """Return a place and turns by `NEAR_TURN` either way about each axis."""
    turns = Rotation.from_euler("xyz", _EITHER_WAY * math.radians(NEAR_TURN)).as_matrix()
    return [_before(place, _turned(fixed, turn, np.zeros(3))) for turn in turns]


def cube_starts(fixed: WorkingImage, moving: WorkingImage, place: Any) -> Iterator[tuple[Any, Any]]:
    """Yield other orientations, each about `place` and by the centers.

    They are the 23 of a cube for a head, the three half turns about the body's axes for a body.
    """
    for turn in Rotation.create_group("D2" if fixed.shows == "body" else "O").as_matrix():
        if not np.allclose(turn, np.eye(3), atol=1e-6):
            yield (
                _before(place, _turned(fixed, turn, np.zeros(3))),
                _turned(fixed, turn, moving.center - fixed.center),
            )


def wide_starts(fixed: WorkingImage, moving: WorkingImage, known: Sequence[Any]) -> Iterator[Any]:
    """Yield turns of up to 50 degrees (20 of a body) and shifts, about all places known."""
    turns = [np.eye(3)] + [
        Rotation.from_rotvec(math.radians(degrees) * axis).as_matrix()
        for degrees in _WIDE_TURNS[fixed.shows]
        for axis in np.eye(3)
    ]
    first = [
        _turned(fixed, np.eye(3), shift) for shift in (np.zeros(3), moving.center - fixed.center)
    ]
    for place in [*known, *first]:
        for turn in turns:
            for shift in _EITHER_WAY * _REACH * fixed.spacing:
                yield _before(place, _turned(fixed, turn, shift))


def _turned(fixed: WorkingImage, turn: NDArray[np.float64], shift: NDArray[np.float64]) -> Any:
    """Return a turn about the center of the fixed head, and then a shift in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = fixed.center - turn @ fixed.center + shift
    return linear(matrix)


def _before(place: Any, move: Any) -> Any:
    """Return `place` after `move`."""
    return linear(transform_matrix(place) @ transform_matrix(move))
