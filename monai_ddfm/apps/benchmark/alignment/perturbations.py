r"""Seeded perturbations of a pair whose alignment is known.

A volume is moved by its header alone: if :math:`M` maps old to new places and :math:`T` is the
truth from fixed to moving, the truth of the moved pair is :math:`M T`. Stretches act along the
voxel axes of the moving volume, as a wrong pixel size does. Cuts and thick slices change the
voxels, not the truth. A body is moved less: it is slid along the table, turned over as a
wrong header does, and cut, but it lies along the scanner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from monai_ddfm.apps.benchmark.alignment.heads import KnownPair, Matrix

__all__ = ["BODY_KINDS", "KINDS", "Perturbed", "perturb"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Perturbed:
    """A pair to be registered.

    Attributes:
        pair: name of the pair it was made of.
        head: whose head it is.
        modality: of the moving volume.
        kind: a name of `KINDS` or `BODY_KINDS`.
        seed: of this perturbation.
        fixed: the MRI.
        moving: the other volume.
        truth: [4, 4], fixed to moving, LPS mm; None if the two are heads of different people.
    """

    pair: str
    head: str
    modality: str
    kind: str
    seed: int
    fixed: MetaTensor
    moving: MetaTensor
    truth: Matrix | None


def perturb(pair: KnownPair, kind: str, *, seed: int, others: Sequence[KnownPair]) -> Perturbed:
    """Make one perturbation.

    Args:
        pair: what is moved.
        kind: a name of `KINDS` or `BODY_KINDS`.
        seed: the same gives the same.
        others: pairs of other heads, for "other head".

    Returns:
        The pair, moved.
    """
    make = {**KINDS, **BODY_KINDS}[kind]
    rng = np.random.default_rng([seed, *make.__name__.encode(), *pair.name.encode()])
    fixed, moving, truth = make(pair, rng, others)
    return Perturbed(pair.name, pair.head, pair.modality, kind, seed, fixed, moving, truth)


_Made = tuple[MetaTensor, MetaTensor, Matrix | None]


def _rigid(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """Up to 15 degrees and 25 mm."""
    return _moved(pair, _motion(pair.moving, rng, degrees=15.0, mm=25.0))


def _far(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """15 to 40 degrees and up to 50 mm."""
    return _moved(pair, _motion(pair.moving, rng, degrees=(15.0, 40.0), mm=50.0))


def _turn(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """A half turn about an axis of the body, and a little more."""
    turn = Rotation.from_rotvec(np.pi * np.eye(3)[rng.integers(3)])
    little = _motion(pair.moving, rng, degrees=10.0, mm=15.0)
    return _moved(pair, little @ _about(_center(pair.moving), turn.as_matrix()))


def _quarter(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """One of the 20 axis-aligned orientations that are not the right one and no half turn."""
    group = Rotation.create_group("O")
    angles = np.degrees(group.magnitude())
    axes = np.abs(group.as_rotvec()).max(axis=1) > 0.99 * group.magnitude()
    chosen = group[rng.choice(np.flatnonzero((angles > 1) & ~((angles > 179) & axes)))]
    little = _motion(pair.moving, rng, degrees=10.0, mm=15.0)
    return _moved(pair, little @ _about(_center(pair.moving), chosen.as_matrix()))


def _crop(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """20 to 40 percent of the moving field of view cut off at one side, and moved."""
    axis, share = int(rng.integers(3)), rng.uniform(0.2, 0.4)
    count = pair.moving.shape[1 + axis]
    gone = round(share * count)
    first = gone if rng.random() < 0.5 else 0
    made = _sliced(pair.moving, axis, first, count - gone)
    return _moved(pair, _motion(pair.moving, rng, degrees=15.0, mm=25.0), made)


def _remnant(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """A slab of 25 to 45 mm at any height, and moved far: little is left to find."""
    spacing = float(pair.moving.affine[:3, 2].norm())
    count = max(2, round(rng.uniform(25.0, 45.0) / spacing))
    first = int(rng.integers(max(1, pair.moving.shape[3] - count)))
    made = _sliced(pair.moving, 2, first, min(count, pair.moving.shape[3] - first))
    return _moved(pair, _motion(pair.moving, rng, degrees=(10.0, 30.0), mm=50.0), made)


def _slide(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """40 to 120 mm along the body, and a little in all."""
    slide = np.eye(4)
    slide[2, 3] = rng.uniform(40.0, 120.0) * rng.choice([-1, 1])
    return _moved(pair, _motion(pair.moving, rng, degrees=6.0, mm=15.0) @ slide)


def _scale(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """A size that is off by 5 to 15 percent along one axis, two, or all."""
    stretch = _stretch(pair.moving, rng, low=0.05, high=0.15)
    return _moved(pair, _motion(pair.moving, rng, degrees=8.0, mm=15.0) @ stretch)


def _slab(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """12 to 16 slices of about 6 mm, and moved."""
    made = _thick(pair.moving, rng)
    return _moved(pair, _motion(pair.moving, rng, degrees=12.0, mm=20.0), made)


def _slab_scale(pair: KnownPair, rng: np.random.Generator, _: Sequence[KnownPair]) -> _Made:
    """Thick slices whose pixel size is off by 8 to 12 percent, too."""
    made = _thick(pair.moving, rng)
    stretch = _stretch(pair.moving, rng, low=0.08, high=0.12, in_plane=True)
    return _moved(pair, _motion(pair.moving, rng, degrees=12.0, mm=20.0) @ stretch, made)


def _other(pair: KnownPair, rng: np.random.Generator, others: Sequence[KnownPair]) -> _Made:
    """The volume of another person, the centers of the two volumes brought together."""
    other = others[int(rng.integers(len(others)))].moving
    shift = np.eye(4)
    shift[:3, 3] = _center(pair.fixed) - _center(other)
    move = _motion(other, rng, degrees=10.0, mm=15.0)
    return pair.fixed, _headed(other, shift @ move), None


KINDS: dict[str, Callable[[KnownPair, np.random.Generator, Sequence[KnownPair]], _Made]] = {
    "rigid": _rigid,
    "far": _far,
    "half turn": _turn,
    "quarter turn": _quarter,
    "crop": _crop,
    "remnant": _remnant,
    "scale": _scale,
    "slab": _slab,
    "slab and scale": _slab_scale,
    "other head": _other,
}
BODY_KINDS = {"rigid": _rigid, "slide": _slide, "crop": _crop, "half turn": _turn}


def _moved(pair: KnownPair, move: Matrix, moving: MetaTensor | None = None) -> _Made:
    return pair.fixed, _headed(pair.moving if moving is None else moving, move), move @ pair.truth


def _motion(
    volume: MetaTensor,
    rng: np.random.Generator,
    *,
    degrees: float | tuple[float, float],
    mm: float,
) -> Matrix:
    """Return a turn about a random axis through the volume's center, and a shift."""
    axis, direction = rng.normal(size=(2, 3))
    low, high = (0.0, degrees) if isinstance(degrees, float) else degrees
    turn = Rotation.from_rotvec(
        axis / np.linalg.norm(axis) * np.radians(rng.uniform(low, high))
    ).as_matrix()
    move = _about(_center(volume), turn)
    move[:3, 3] += direction / np.linalg.norm(direction) * rng.uniform(0, mm)
    return move


def _stretch(
    volume: MetaTensor,
    rng: np.random.Generator,
    *,
    low: float,
    high: float,
    in_plane: bool = False,
) -> Matrix:
    """Return a stretch along voxel axes: both of the plane, one axis, or all three."""
    factor = 1 + rng.uniform(low, high) * rng.choice([-1, 1])
    factors = np.ones(3)
    kinds = [[0, 1]] if in_plane else [[0], [1], [2], [0, 1], [0, 1, 2]]
    factors[kinds[int(rng.integers(len(kinds)))]] = factor
    axes = _affine(volume)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    return _about(_center(volume), axes @ np.diag(factors) @ np.linalg.inv(axes))


def _about(center: Matrix, matrix: Matrix) -> Matrix:
    move = np.eye(4)
    move[:3, :3] = matrix
    move[:3, 3] = center - matrix @ center
    return move


def _affine(volume: MetaTensor) -> Matrix:
    return np.asarray(_LPS @ volume.affine.numpy())


def _center(volume: MetaTensor) -> Matrix:
    middle = (np.array(volume.shape[1:]) - 1) / 2
    return np.asarray(_affine(volume) @ [*middle, 1.0])[:3]


def _headed(volume: MetaTensor, move: Matrix) -> MetaTensor:
    """Move a volume by its header; `move` maps old to new places, LPS."""
    affine = torch.from_numpy(_LPS @ move @ _LPS) @ volume.affine
    return _like(volume, volume.as_tensor(), affine)


def _sliced(volume: MetaTensor, axis: int, first: int, count: int) -> MetaTensor:
    values = volume.as_tensor().narrow(1 + axis, first, count).contiguous()
    affine = volume.affine.clone()
    affine[:3, 3] += first * affine[:3, axis]
    return _like(volume, values, affine)


def _thick(volume: MetaTensor, rng: np.random.Generator) -> MetaTensor:
    """Average slices to about 6 mm and keep 12 to 16 of them, from the middle more or less."""
    spacing = float(volume.affine[:3, 2].norm())
    together = max(1, round(6.0 / spacing))
    most = volume.shape[3] // together
    count = min(most, int(rng.integers(12, 17)))
    first = int(rng.integers(most - count + 1)) * together
    part = _sliced(volume, 2, first, count * together)
    values = part.as_tensor().unflatten(3, (count, together)).mean(dim=4)
    affine = part.affine.clone()
    affine[:3, 3] += (together - 1) / 2 * affine[:3, 2]
    affine[:3, 2] *= together
    return _like(volume, values, affine)


def _like(volume: MetaTensor, values: torch.Tensor, affine: torch.Tensor) -> MetaTensor:
    meta = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(values.float(), affine=affine, meta=meta)
