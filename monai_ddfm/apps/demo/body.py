r"""Two simple trunks to try the program on: a pelvis and an abdomen, sums of superellipsoids.

A superellipsoid with half axes :math:`a` and power :math:`p` is where

.. math::
    r = \Big(\sum_k |x_k / a_k|^p\Big)^{1/p} \le 1,

and :math:`(r - 1)` times its smallest half axis stands for the distance to its surface. Shapes are
painted one over the other; what is painted later is in front. A seed changes all half axes and
places a little, and bends space smoothly, so that nothing is symmetric or straight. This is no
anatomy: no ribs, no vessels but the two large ones, one texture for all tissue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from monai_ddfm.apps.demo.anatomy import Anatomy
from monai_ddfm.apps.demo.fields import Array, Matrix, ramp, smooth_field

__all__ = ["BODIES", "Shape", "build_body"]

_LOWER: Final = (-285.0, -165.0, -150.0)  # RAS mm; below and above, the outermost slices go on
_UPPER: Final = (285.0, 165.0, 150.0)
_BENT_MM: Final = 5.0
_RESIZED, _SHIFTED_MM = 0.04, 3.0


@dataclass(frozen=True)
class Shape:
    """A superellipsoid of one tissue.

    Attributes:
        tissue: name, or "air".
        center: RAS mm.
        axes: half axes in mm; endless along an axis where infinite.
        power: 2 is an ellipsoid, more is more of a box.
        within: half axes are less by so many mm and of another tissue inside: bone and its marrow.
    """

    tissue: str
    center: tuple[float, float, float]
    axes: tuple[float, float, float]
    power: float = 2.0
    within: tuple[str, float] | None = None


def _both(tissue: str, center: tuple[float, float, float], *rest: object) -> tuple[Shape, Shape]:
    """Return a shape and its image on the other side."""
    x, y, z = center
    return Shape(tissue, center, *rest), Shape(tissue, (-x, y, z), *rest)  # type: ignore[arg-type]


_MARROW: Final = ("marrow", 4.0)
_PELVIS: Final = (
    Shape("fat", (0, 0, 0), (182, 118, inf), 2.5),
    *_both("muscle", (82, -52, -5), (78, 48, 130)),
    *_both("muscle", (88, 42, -45), (52, 42, 120)),
    Shape("muscle", (0, 62, 100), (105, 22, 95)),
    Shape("fat", (0, 8, 20), (82, 72, 150)),
    *_both("bone", (96, -22, 78), (26, 56, 62), 2.5, _MARROW),
    Shape("bone", (0, -78, 70), (48, 20, 66), 2.5, _MARROW),
    *_both("bone", (60, 42, -42), (42, 13, 17), 2.5, _MARROW),
    *_both("bone", (92, 4, -20), (38, 36, 36), 2.0, ("muscle", 5.0)),
    *_both("bone", (92, 4, -20), (25, 25, 25), 2.0, _MARROW),
    *_both("bone", (118, 0, -100), (17, 17, 75), 2.5, ("marrow", 6.0)),
    Shape("muscle", (0, -48, -10), (22, 20, 70)),
    Shape("air", (2, -46, 12), (11, 8, 22)),
    Shape("organ", (0, 8, -28), (25, 20, 21)),
    Shape("muscle", (4, 26, 18), (48, 36, 38)),
    Shape("urine", (4, 26, 18), (44, 32, 34)),
    *_both("blood", (48, 12, 80), (7, 7, 70)),
    Shape("hot", (-52, -2, 42), (11, 9, 10)),
)
_ABDOMEN: Final = (
    *_both("fat", (236, -18, 0), (40, 46, inf)),
    *_both("muscle", (236, -18, 0), (31, 37, inf)),
    *_both("bone", (236, -18, 0), (12, 12, inf), 2.0, ("marrow", 5.0)),
    Shape("fat", (0, 0, 0), (176, 116, inf), 2.6),
    Shape("muscle", (0, -6, 0), (156, 98, inf), 2.5),
    Shape("fat", (0, 14, 0), (142, 74, inf), 2.3),
    *_both("muscle", (34, -42, -70), (19, 18, 95)),
    *(Shape("bone", (0, -56, z), (24, 19, 13), 4.0, _MARROW) for z in range(-140, 141, 35)),
    Shape("bone", (0, -80, 0), (17, 14, inf), 2.0),
    Shape("fluid", (0, -79, 0), (11, 9, inf)),
    Shape("blood", (-12, -26, 0), (11, 11, inf)),
    Shape("blood", (20, -24, 0), (12, 10, inf)),
    Shape("liver", (72, 14, 62), (70, 62, 84), 2.3),
    Shape("fluid", (58, 52, 10), (15, 17, 26)),
    Shape("organ", (-66, 26, 78), (52, 40, 46)),
    Shape("air", (-66, 44, 84), (34, 16, 26)),
    Shape("liver", (-112, -30, 70), (24, 36, 46)),
    *_both("kidney", (66, -46, -6), (27, 25, 54)),
    *_both("urine", (54, -44, -6), (10, 9, 18)),
    Shape("hot", (84, 30, 44), (12, 12, 12)),
    Shape("hot", (4, -8, -62), (9, 8, 10)),
)
BODIES: Final = {"pelvis": _PELVIS, "abdomen": _ABDOMEN}
"""The shapes of each trunk, in the order in which they are painted."""

# Where loops of bowel lie: their box in RAS mm, and how many.
_BOWEL: Final = {
    "pelvis": ((-62, 0, 78), (62, 48, 145), 12),
    "abdomen": ((-105, 0, -145), (105, 62, -12), 26),
}


def build_body(name: str, seed: int, *, voxel: float = 3.0) -> Anatomy:
    """Build a trunk.

    Args:
        name: of `BODIES`.
        seed: changes sizes and places a little, and the bowel.
        voxel: edge of a voxel in mm.

    Returns:
        Fractions of tissue; ``template`` is a smooth texture with mean 0 and deviation 1.
    """
    rng = np.random.default_rng([seed, 7, *name.encode()])
    shapes = [_varied(shape, rng) for shape in (*BODIES[name], *_loops(name, rng))]
    axes = [np.arange(lo, up, voxel) for lo, up in zip(_LOWER, _UPPER, strict=True)]
    size = tuple(len(axis) for axis in axes)
    places = [
        axis.reshape([-1 if k == j else 1 for j in range(3)]).astype(np.float32)
        + np.float32(_BENT_MM) * smooth_field(rng, size, 6)
        for k, axis in enumerate(axes)
    ]
    names = {s.tissue for s in shapes} | {s.within[0] for s in shapes if s.within}
    tissues = {tissue: np.zeros(size, np.float32) for tissue in sorted(names - {"air"})}
    for shape in shapes:
        box = _box(shape, axes)
        near = [place[box] for place in places]
        for tissue, share in _shares(shape, near, voxel):
            for fraction in tissues.values():
                fraction[box] *= 1 - share
            if tissue != "air":
                tissues[tissue][box] += share
    lesions = {"hot": tissues.pop("hot")}
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = _LOWER
    # What a lesion lies in is painted over by it; `Anatomy.mix` expects it beneath.
    tissues["muscle"] += lesions["hot"]
    return Anatomy(affine, tissues, lesions, smooth_field(rng, size, 48), voxel)


def _varied(shape: Shape, rng: np.random.Generator) -> Shape:
    factor = 1 + _RESIZED * rng.uniform(-1, 1)
    shift = _SHIFTED_MM * rng.uniform(-1, 1, 3)
    x, y, z = np.add(shape.center, shift).tolist()
    a, b, c = (axis * factor for axis in shape.axes)
    return Shape(shape.tissue, (x, y, z), (a, b, c), shape.power, shape.within)


def _loops(name: str, rng: np.random.Generator) -> Iterator[Shape]:
    """Yield loops of bowel, every third with gas in it."""
    low, high, count = _BOWEL[name]
    for number in range(count):
        x, y, z = rng.uniform(low, high).tolist()
        a, b, c = rng.uniform(9, 20, 3).tolist()
        yield Shape("bowel", (x, y, z), (a, b, c))
        if number % 3 == 0:
            yield Shape("air", (x, y + 3, z), (0.6 * a, 0.5 * b, 0.6 * c))


def _box(shape: Shape, axes: Sequence[Matrix]) -> tuple[slice, ...]:
    """Return the voxels that a shape can reach, however space is bent."""
    margin = 5 * _BENT_MM
    return tuple(
        slice(*np.searchsorted(places, [c - a - margin, c + a + margin]).tolist())
        for places, c, a in zip(axes, shape.center, shape.axes, strict=True)
    )


def _shares(shape: Shape, places: list[Array], voxel: float) -> Iterator[tuple[str, Array]]:
    """Yield what the shape is made of, and the share of every voxel inside."""
    yield shape.tissue, _inside(shape.center, shape.axes, shape.power, places, voxel)
    if shape.within:
        tissue, less = shape.within
        a, b, c = (axis - less for axis in shape.axes)
        yield tissue, _inside(shape.center, (a, b, c), shape.power, places, voxel)


def _inside(
    center: tuple[float, float, float],
    axes: tuple[float, float, float],
    power: float,
    places: list[Array],
    voxel: float,
) -> Array:
    parts = zip(places, center, axes, strict=True)
    r = sum(np.abs((x - np.float32(c)) / np.float32(a)) ** np.float32(power) for x, c, a in parts)
    distance: Matrix = (np.asarray(r) ** (1 / power) - 1) * min(axes)
    return ramp(distance, voxel)
