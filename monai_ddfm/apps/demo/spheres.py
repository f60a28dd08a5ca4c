"""Spheres in the brain of a simulated head, by which a correction of its blur is judged.

Of each diameter there are three, apart from each other and from the lesions:

``seen``     as hot as gray matter, and visible in the T1;
``hidden``   the same, and not visible in the T1;
``marked``   visible in the T1, and nothing in the uptake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal

import numpy as np
from scipy import ndimage

from monai_ddfm.apps.demo.anatomy import Anatomy
from monai_ddfm.apps.demo.fields import Array, Matrix, ramp
from monai_ddfm.errors import InputError

__all__ = ["Kind", "Sphere", "add_spheres", "place_spheres"]

Kind = Literal["seen", "hidden", "marked"]

_KINDS: Final[tuple[Kind, ...]] = ("seen", "hidden", "marked")
_APART_MM, _BELOW_SURFACE_MM = 10.0, 3.0
_LEVELS_MM = (-5.0, 58.0)
_DRAWN = 4096


@dataclass(frozen=True)
class Sphere:
    """One sphere.

    Attributes:
        kind: see the module.
        diameter: in mm.
        center: RAS mm.
    """

    kind: Kind
    diameter: float
    center: tuple[float, float, float]

    def share(self, affine: Matrix, shape: Sequence[int]) -> Array:
        """Return the share of each voxel of a grid that lies inside, [X, Y, Z] in 0..1.

        Args:
            affine: voxel index to RAS mm, axes along the body's.
            shape: of the grid.
        """
        distance = self.distance(affine, shape)
        edge = float(np.abs(np.diag(affine)[:3]).min())
        return ramp(distance - self.diameter / 2, edge)

    def distance(self, affine: Matrix, shape: Sequence[int]) -> Matrix:
        """Return the distance of every voxel to the center in mm, [X, Y, Z]."""
        places = [affine[k, k] * np.arange(n) + affine[k, 3] for k, n in enumerate(shape)]
        parts = [(p - c) ** 2 for p, c in zip(places, self.center, strict=True)]
        squares = parts[0][:, None, None] + parts[1][:, None] + parts[2]
        return np.asarray(np.sqrt(squares), dtype=np.float64)


def place_spheres(
    anatomy: Anatomy, *, seed: int, diameters: Sequence[float] = (8.0, 12.0, 20.0)
) -> list[Sphere]:
    """Choose where the spheres lie.

    Args:
        anatomy: the head.
        seed: of the places.
        diameters: in mm.

    Returns:
        Three spheres for each diameter, the largest first.

    Raises:
        InputError: the brain has no room for them.
    """
    rng = np.random.default_rng([seed, 5])
    shape, origin = anatomy.template.shape, anatomy.affine[:3, 3]
    brain = anatomy.tissues["gray"] + anatomy.tissues["white"] > 0.5
    free = brain & (sum(anatomy.lesions.values()) < 0.01)
    depth = ndimage.distance_transform_edt(free) * anatomy.voxel
    placed: list[Sphere] = []
    for diameter, kind in product(sorted(diameters, reverse=True), _KINDS):
        room = np.flatnonzero(depth > diameter / 2 + _BELOW_SURFACE_MM)
        drawn = rng.choice(room, _DRAWN) if room.size else room
        points = np.stack(np.unravel_index(drawn, shape), axis=1) * anatomy.voxel + origin
        fits = (points[:, 2] > _LEVELS_MM[0]) & (points[:, 2] < _LEVELS_MM[1])
        for other in placed:
            apart = np.linalg.norm(points - other.center, axis=1)
            fits &= apart > (diameter + other.diameter) / 2 + _APART_MM
        if not fits.any():
            raise InputError(
                f"the brain of seed {seed} has no room for spheres of {diameter:g} mm; take "
                "another seed."
            )
        x, y, z = (float(c) for c in points[np.argmax(fits)])
        placed.append(Sphere(kind, diameter, (x, y, z)))
    return placed


def add_spheres(anatomy: Anatomy, spheres: Sequence[Sphere]) -> Anatomy:
    """Return the head with spheres in it."""
    masks = dict(anatomy.lesions)
    for sphere in spheres:
        share = sphere.share(anatomy.affine, anatomy.template.shape)
        masks[sphere.kind] = np.maximum(masks.get(sphere.kind, np.float32(0)), share)
    return replace(anatomy, lesions=masks)
