"""Where searches begin: near what the headers say, in other orientations, and far afield.

All are rigid transforms from points of the fixed to points of the moving volume, LPS mm.
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
from monai_ddfm.transforms.similarity import WorkingImage

__all__ = [
    "NEAR_TURN",
    "StartFrom",
    "cube_starts",
    "first_places",
    "near_starts",
    "starts_about",
    "wide_starts",
]

StartFrom = Literal["auto", "headers", "centers"]
NEAR_TURN = 15.0
"""Degrees by which near starts are turned."""

_WIDE_TURNS = (30.0, -30.0, 50.0, -50.0)  # degrees
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


def starts_about(fixed: WorkingImage, place: Any) -> list[Any]:
    """Return a place and turns by `NEAR_TURN` either way about each axis."""
    turns = Rotation.from_euler("xyz", _EITHER_WAY * math.radians(NEAR_TURN)).as_matrix()
    return [_before(place, _turned(fixed, turn, np.zeros(3))) for turn in turns]


def cube_starts(fixed: WorkingImage, moving: WorkingImage, place: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the 23 other orientations of a cube, each about `place` and by the heads' centers."""
    for turn in Rotation.create_group("O").as_matrix():
        if not np.allclose(turn, np.eye(3), atol=1e-6):
            yield (
                _before(place, _turned(fixed, turn, np.zeros(3))),
                _turned(fixed, turn, moving.center - fixed.center),
            )


def wide_starts(fixed: WorkingImage, moving: WorkingImage, known: Sequence[Any]) -> Iterator[Any]:
    """Yield turns up to 50 degrees with shifts along each axis, about all places known."""
    turns = [np.eye(3)] + [
        Rotation.from_rotvec(math.radians(degrees) * axis).as_matrix()
        for degrees in _WIDE_TURNS
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
