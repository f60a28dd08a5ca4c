r"""The search behind the registration transforms: rigid, affine and B-spline by mutual information.

Over transforms :math:`T` from points of the fixed to points of the moving volume, maximize Mattes'
form of mutual information [1] between the fixed volume :math:`F` and :math:`M \circ T`,

.. math::

    I(T) = \sum_{a, b} p_T(a, b) \log \frac{p_T(a, b)}{p_F(a)\, p_T(b)},

by regular-step gradient descent, its steps measured in millimeters of displacement. Both volumes
are first smoothed and resampled to isotropic working grids, whose spacing :math:`s` is about a
hundredth of the fixed field of view; all tolerances below are multiples of :math:`s`.

Local searches find local maxima. So the coarse search (at :math:`2s`) begins at several places: the
position by the headers, the match of the heads' centers, and rotations about either. What share of
them ends in one and the same place is a measure of trust ("agreement"). If that share or the
dependence found is poor, a wider set of starts is tried. Candidates are compared by mutual
information with the moving volume continued by its background, so that sliding out of the field of
view cannot win.

Everything runs in one thread and with sampling from a fixed seed: ITK adds up the contributions of
several threads in the order in which they finish, which changes the last bits from run to run.

References:
    [1] D. Mattes et al., "PET-CT image registration in the chest using free-form deformations",
        IEEE Transactions on Medical Imaging 22(1), 2003.
    [2] D. Rueckert et al., "Nonrigid registration using free-form deformations", IEEE Transactions
        on Medical Imaging 18(8), 1999.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_ddfm.transforms.similarity import JointHistogram, Sighting
from monai_ddfm.transforms.transform_files import as_affine

__all__ = ["Alignment", "Model", "StartFrom", "align", "distance", "settle"]

Model = Literal["rigid", "affine", "deformable"]
StartFrom = Literal["auto", "headers", "centers"]

_SEED = 20230811
_BINS = 32
_STEPS = 100
_COARSE_SHARE = 0.5  # of the voxels of the coarse working grid
_SHARE = 0.3  # of the voxels of the fine working grid
# Blur and first step in voxels: a head has shells, and stretching one onto the next is a trap.
_AFFINE_STAGES = ((3.0, 1.0), (1.0, 0.25))
_DEFORMABLE_SAMPLES = 8000
_DEFORMABLE_STEPS = 40
_NEAR = 2.0  # working voxels within which two results count as the same
_FINE_BONUS = 0.02  # nats: the fine grid sees more than the coarse one that scores
_POOR_AGREEMENT = 0.3
_POOR_DEPENDENCE = 0.05


@dataclass(frozen=True)
class Alignment:
    """What a search has found.

    Attributes:
        transform: `SimpleITK` transform from points of fixed to points of moving, LPS mm: an
            `AffineTransform` about the origin, or for "deformable" a composite of that and a
            B-spline, which acts first. A step that makes matters worse is left out.
        start: where the winning search began: "headers" or "centers".
        agreement: share of the coarse searches that ended where the winning one did.
        searches: number of coarse searches.
    """

    transform: Any
    start: str
    agreement: float
    searches: int


@dataclass(frozen=True)
class _Start:
    name: str
    angles: NDArray[np.float64]  # radians about x, y, z
    shift: NDArray[np.float64]  # mm


@dataclass(frozen=True)
class _Candidate:
    transform: Any
    start: str
    score: float


def align(
    fixed: Sighting,
    moving: Sighting,
    *,
    model: Model = "rigid",
    start: StartFrom = "auto",
    same_frame: bool = False,
    control_spacing: float = 50.0,
) -> Alignment:
    """Find the transform from points of `fixed` to points of `moving`.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume, at the same working spacing.
        model: "rigid" (6 parameters), "affine" (12), or "deformable" (rigid, then affine, then a
            cubic B-spline [2]).
        start: "headers" and "centers" restrict the first starts to these; "auto" uses both, or the
            headers alone if the volumes share a frame of reference.
        same_frame: whether the headers state one frame of reference.
        control_spacing: mm between control points of the B-spline.

    Returns:
        The best alignment found; how good it is must be judged by the caller.
    """
    score = JointHistogram(fixed, moving)
    names = _first_names(start, same_frame=same_frame)
    starts = [s for name in names for s in _starts(fixed, moving, name, degrees=15.0)]
    candidates = _search(fixed, moving, starts, score)
    chosen, agreement = _choose(fixed, moving, candidates, score)
    if agreement < _POOR_AGREEMENT or score.dependence(chosen.transform) < _POOR_DEPENDENCE:
        candidates += _search(fixed, moving, _wide_starts(fixed, moving), score)
        chosen, agreement = _choose(fixed, moving, candidates, score)
    transform = chosen.transform
    if model != "rigid":
        for blur, step in _AFFINE_STAGES:
            stretched = _climb(fixed, moving, transform, affine=True, blur=blur, step=step)
            transform = _kept(score, transform, stretched)
    if model == "deformable":
        bent = _refine_deformable(fixed, moving, transform, control_spacing)
        transform = _kept(score, transform, bent)
    return Alignment(transform, chosen.start, agreement, len(candidates))


def settle(fixed: Sighting, moving: Sighting, transform: Any) -> tuple[Any, float]:
    """Climb from a given transform to the nearest maximum, rigidly if it is rigid.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        transform: a given linear transform, fixed to moving.

    Returns:
        The bettered transform, and the mean mm by which that moves the corners of the head.
    """
    matrix = np.reshape(transform.GetMatrix(), (3, 3))
    rigid = np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6) and np.linalg.det(matrix) > 0
    settled = _climb(fixed, moving, transform, coarse=True, affine=not rigid)
    return settled, distance(fixed, transform, settled)


def _first_names(start: StartFrom, *, same_frame: bool) -> tuple[str, ...]:
    if start != "auto":
        return (start,)
    return ("headers",) if same_frame else ("headers", "centers")


def _starts(fixed: Sighting, moving: Sighting, name: str, *, degrees: float) -> list[_Start]:
    """Return the place itself and turns by `degrees` either way about each axis."""
    shift = np.zeros(3) if name == "headers" else moving.center - fixed.center
    turns = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)]) * math.radians(degrees)
    return [_Start(name, angles, shift) for angles in turns]


def _wide_starts(fixed: Sighting, moving: Sighting) -> list[_Start]:
    """Return starts with turns up to 50 degrees and shifts along the body axis."""
    reach = np.array([0.0, 0.0, 12 * fixed.spacing])
    starts = []
    for name in ("headers", "centers"):
        for place in _starts(fixed, moving, name, degrees=30.0):
            starts += [replace(place, shift=place.shift + along) for along in (-reach, reach)]
        starts += _starts(fixed, moving, name, degrees=50.0)[1:]
    return starts


def _search(
    fixed: Sighting, moving: Sighting, starts: Iterable[_Start], score: JointHistogram
) -> list[_Candidate]:
    candidates = []
    for start in starts:
        turned = sitk.Euler3DTransform()
        turned.SetCenter(fixed.center.tolist())
        turned.SetRotation(*start.angles.tolist())
        turned.SetTranslation(start.shift.tolist())
        found = _climb(fixed, moving, turned, coarse=True)
        candidates.append(_Candidate(found, start.name, score(found)))
    return candidates


def _choose(
    fixed: Sighting, moving: Sighting, candidates: Sequence[_Candidate], score: JointHistogram
) -> tuple[_Candidate, float]:
    """Refine the best candidate; return it, or the headers if better, and who agrees with it."""
    best = max(candidates, key=lambda c: c.score)
    again = _climb(fixed, moving, best.transform, coarse=True)  # a far start may need more steps
    fine = _climb(fixed, moving, again)
    untouched = sitk.AffineTransform(3)
    choices = [
        (score(fine) + _FINE_BONUS, fine, again, best.start),
        (score(again), again, again, best.start),
        (score(untouched), untouched, untouched, "headers"),
    ]
    value, transform, place, start = max(choices, key=lambda c: c[0])
    near = _NEAR * fixed.spacing
    agreeing = [distance(fixed, place, c.transform) < near for c in candidates]
    return _Candidate(transform, start, value), float(np.mean(agreeing))


def _kept(score: JointHistogram, old: Any, new: Any) -> Any:
    """Return `new` unless it is worse, as when it has climbed by leaving the field of view."""
    return new if score(new) + _FINE_BONUS >= score(old) else old


def distance(fixed: Sighting, one: Any, other: Any) -> float:
    """Return the mean distance in mm between two transforms at the corners of the head."""
    corners = fixed.corners.tolist()
    a, b = (np.array([t.TransformPoint(p) for p in corners]) for t in (one, other))
    return float(np.linalg.norm(a - b, axis=1).mean())


def _climb(
    fixed: Sighting,
    moving: Sighting,
    first: Any,
    *,
    coarse: bool = False,
    affine: bool = False,
    blur: float = 0.0,
    step: float = 1.0,
) -> Any:
    """Climb from the linear transform `first`, to an affine transform about the origin.

    `blur` is the width of a smoothing and `step` the first step, both in voxels of the grid.
    """
    # A versor is composed, not added to, at each step: no gimbal lock, however large the turn.
    transform = sitk.AffineTransform(3) if affine else sitk.VersorRigid3DTransform()
    center = fixed.center
    transform.SetCenter(center.tolist())
    transform.SetMatrix(first.GetMatrix(), *(() if affine else (1e-6,)))
    transform.SetTranslation((np.array(first.TransformPoint(center.tolist())) - center).tolist())
    unit = fixed.spacing * (2 if coarse else 1)
    method = _method(fixed, coarse=coarse)
    method.SetOptimizerAsRegularStepGradientDescent(step * unit, 0.02 * unit, _STEPS, 0.85, 1e-6)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([blur * unit])
    # Scaled so, a step moves the head's rim as far by turning (or stretching) as by shifting.
    turning = len(transform.GetParameters()) - 3
    method.SetOptimizerScales([fixed.radius**2] * turning + [1.0] * 3)
    method.SetInitialTransform(transform, True)
    pair = (fixed.coarse, moving.coarse) if coarse else (fixed.fine, moving.fine)
    try:
        method.Execute(*pair)
    except RuntimeError:  # ITK: all samples map outside the moving image
        return as_affine(first)
    return as_affine(transform)


def _method(fixed: Sighting, *, coarse: bool = False, share: float | None = None) -> Any:
    if share is None:
        share = _COARSE_SHARE if coarse else _SHARE
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(share, _SEED)
    method.SetMetricFixedMask(fixed.coarse_region if coarse else fixed.region)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _refine_deformable(
    fixed: Sighting, moving: Sighting, linear: Any, control_spacing: float
) -> Any:
    """Add a cubic B-spline that acts before the linear transform."""
    sides = np.array(fixed.fine.GetSize()) * np.array(fixed.fine.GetSpacing())
    mesh = np.maximum(1, np.round(sides / control_spacing)).astype(int).tolist()
    spline = sitk.BSplineTransformInitializer(fixed.fine, mesh, 3)
    inside = max(1, int(np.count_nonzero(sitk.GetArrayViewFromImage(fixed.region))))
    method = _method(fixed, share=min(1.0, _DEFORMABLE_SAMPLES / inside))
    unit = fixed.spacing
    method.SetOptimizerAsRegularStepGradientDescent(
        1.6 * unit, 0.04 * unit, _DEFORMABLE_STEPS, 0.85, 1e-6
    )
    method.SetInitialTransform(spline, True)
    method.SetMovingInitialTransform(linear)
    try:
        method.Execute(fixed.fine, moving.fine)
    except RuntimeError:  # as in `_climb`
        return linear
    return sitk.CompositeTransform([linear, spline])
