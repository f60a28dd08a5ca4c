"""Where lesions are put: random places inside the head, several to an image.

A fusion takes seconds and a lesion a few hundred pixels, so one image holds several lesions, at
least about a patch of the channels apart: none is seen through the patch of another. What a place
is without a lesion is the same for all, and taken from one fusion without any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["Place", "centers", "place_lesions"]


@dataclass(frozen=True)
class Place:
    """A place in an image.

    Attributes:
        row: in pixels.
        column: in pixels.
        angle: of a line there against the rows, in radians, in [0, pi).
    """

    row: int
    column: int
    angle: float = 0.0


def place_lesions(
    mask: Tensor,
    count: int,
    *,
    seed: tuple[int | str, ...],
    distance: float = 60.0,
    margin: int = 8,
) -> list[list[Place]]:
    """Choose random places inside a mask, in groups that fit into one image.

    Args:
        mask: where lesions may be, boolean [H, W].
        count: number of places, at least 1.
        seed: numbers and words: same seed, same places.
        distance: least distance of two places of a group, in pixels.
        margin: least distance of a place from the edge of the mask, in pixels (city blocks).

    Returns:
        Groups of places, all different, `count` together.

    Raises:
        InputError: if the mask has no inside, or fewer places than asked for.
    """
    if count < 1:
        raise InputError(f"{count} lesions are unusable; give 1 or more.")
    inside = mask.numpy().astype(bool)
    if margin:
        inside = ndimage.binary_erosion(inside, iterations=margin)
    candidates = np.argwhere(inside)
    if len(candidates) == 0:
        raise InputError("there is no head in the image; lesions need one to be put into.")
    if len(candidates) < count:
        raise InputError(
            f"the head has {len(candidates)} places for {count} lesions; ask for fewer."
        )
    words = [part if isinstance(part, int) else int.from_bytes(part.encode()) for part in seed]
    generator = np.random.default_rng(words)
    groups: list[list[Place]] = []
    left = candidates
    while count > 0:
        left = generator.permutation(left)
        chosen = _apart(left, distance=distance)[:count]
        angles = generator.random(len(chosen)) * math.pi
        rows = zip(left[chosen].tolist(), angles.tolist(), strict=True)
        groups.append([Place(row, column, angle) for (row, column), angle in rows])
        left = np.delete(left, chosen, axis=0)
        count -= len(chosen)
    return groups


def centers(places: list[Place]) -> Tensor:
    """Return rows and columns of places, int64 [S, 2]."""
    return torch.tensor([[place.row, place.column] for place in places], dtype=torch.int64)


def _apart(candidates: NDArray[np.int64], *, distance: float) -> list[int]:
    """Take candidates in turn that are no nearer to each other than `distance`."""
    free = np.ones(len(candidates), dtype=bool)
    chosen = []
    while free.any():
        first = int(np.argmax(free))
        chosen.append(first)
        free &= ((candidates - candidates[first]) ** 2).sum(1) >= distance**2
        free[first] = False
    return chosen
