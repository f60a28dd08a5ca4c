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
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from monai_ddfm.transforms.similarity import JointHistogram, Sighting

__all__ = ["Alignment", "Model", "StartFrom", "align"]

Model = Literal["rigid", "affine", "deformable"]
StartFrom = Literal["auto", "headers", "centers"]

_SEED = 20230811
_BINS = 32
_COARSE_STEPS = 100
_FINE_STEPS = 100
_COARSE_SHARE = 0.5  # of the voxels of the coarse working grid
_SHARE = 0.3  # of the voxels of the fine working grid
_DEFORMABLE_SAMPLES = 15000
_DEFORMABLE_STEPS = 40
_NEAR = 2.0  # working voxels within which two results count as the same
_POOR_AGREEMENT = 0.3
_POOR_DEPENDENCE = 0.05


@dataclass(frozen=True)
class Alignment:
    """What a search has found.

    Attributes:
        transform: `SimpleITK` transform from points of fixed to points of moving, LPS mm: an
            `AffineTransform` about the origin, or for "deformable" a composite of that and a
            B-spline, which acts first.
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
    angles: tuple[float, float, float]  # radians about x, y, z
    shift: tuple[float, float, float]  # mm


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
    candidates = _coarse(fixed, moving, starts, score)
    best, agreement = _winner(fixed, candidates)
    if agreement < _POOR_AGREEMENT or score.dependence(best.transform) < _POOR_DEPENDENCE:
        candidates += _coarse(fixed, moving, _wide_starts(fixed, moving), score)
        best, agreement = _winner(fixed, candidates)
    finest = _climb(fixed, moving, best.transform)
    transform: Any = finest if score(finest) >= best.score - 0.02 else best.transform
    if score(sitk.AffineTransform(3)) > score(transform):
        best, transform = _Candidate(None, "headers", 0.0), sitk.Euler3DTransform()
    if model != "rigid":
        transform = _refine_affine(fixed, moving, _as_affine(transform))
    if model == "deformable":
        transform = _refine_deformable(fixed, moving, transform, control_spacing)
    else:
        transform = _as_affine(transform)
    return Alignment(transform, best.start, agreement, len(candidates))


def _first_names(start: StartFrom, *, same_frame: bool) -> tuple[str, ...]:
    if start != "auto":
        return (start,)
    return ("headers",) if same_frame else ("headers", "centers")


def _starts(
    fixed: Sighting, moving: Sighting, name: str, *, degrees: float
) -> list[_Start]:
    """Return the place itself and turns by `degrees` either way about each axis."""
    shift = (0.0, 0.0, 0.0) if name == "headers" else tuple(moving.center - fixed.center)
    turn = math.radians(degrees)
    turns = [(0.0, 0.0, 0.0)]
    for axis, sign in product(range(3), (turn, -turn)):
        turns.append(tuple(sign if a == axis else 0.0 for a in range(3)))  # type: ignore[arg-type]
    return [_Start(name, angles, shift) for angles in turns]  # type: ignore[arg-type]


def _wide_starts(fixed: Sighting, moving: Sighting) -> list[_Start]:
    """Return starts with turns up to 50 degrees and shifts along the body axis."""
    reach = 12 * fixed.spacing
    starts = []
    for name in ("headers", "centers"):
        for start in _starts(fixed, moving, name, degrees=30.0):
            for along in (-reach, reach):
                x, y, z = start.shift
                starts.append(_Start(name, start.angles, (x, y, z + along)))
        starts += _starts(fixed, moving, name, degrees=50.0)[1:]
    return starts


def _coarse(
    fixed: Sighting, moving: Sighting, starts: Iterable[_Start], score: JointHistogram
) -> list[_Candidate]:
    candidates = []
    for start in starts:
        first = sitk.Euler3DTransform(fixed.center.tolist(), *start.angles, start.shift)
        found = _optimize(
            fixed.coarse,
            moving.coarse,
            score.region,
            first,
            radius=fixed.radius,
            unit=2 * fixed.spacing,
            share=_COARSE_SHARE,
            steps=_COARSE_STEPS,
        )
        candidates.append(_Candidate(found, start.name, score(found)))
    return candidates


def _winner(fixed: Sighting, candidates: list[_Candidate]) -> tuple[_Candidate, float]:
    """Return the best candidate and the share of candidates that agree with it."""
    best = max(candidates, key=lambda c: c.score)
    near = [distance(fixed, best.transform, c.transform) < _NEAR * fixed.spacing for c in candidates]
    return best, float(np.mean(near))


def head_corners(sighting: Sighting) -> NDArray[np.float64]:
    """Return the eight corners of the box around the head, [8, 3] in LPS mm."""
    index = np.argwhere(sitk.GetArrayViewFromImage(sighting.head) > 0)[:, ::-1]
    ends = np.stack([index.min(axis=0) - 0.5, index.max(axis=0) + 0.5])
    corners = [[ends[b, a] for a, b in enumerate(bits)] for bits in product((0, 1), repeat=3)]
    place = sighting.head.TransformContinuousIndexToPhysicalPoint
    return np.array([place(corner) for corner in corners])


def distance(fixed: Sighting, one: Any, other: Any) -> float:
    """Return the mean distance in mm between two transforms at the corners of the head."""
    corners = head_corners(fixed)
    a, b = (np.array([t.TransformPoint(p.tolist()) for p in corners]) for t in (one, other))
    return float(np.linalg.norm(a - b, axis=1).mean())


def _climb(fixed: Sighting, moving: Sighting, first: Any) -> Any:
    return _optimize(
        fixed.fine, moving.fine, fixed.region, first, radius=fixed.radius, unit=fixed.spacing
    )


def _optimize(
    fixed: Any,
    moving: Any,
    region: Any,
    first: Any,
    *,
    radius: float,
    unit: float,
    share: float = _SHARE,
    steps: int = _FINE_STEPS,
) -> Any:
    """Climb from `first`; return it unchanged where the volumes do not meet there."""
    transform = type(first)(first)
    method = _method(fixed, region, share)
    method.SetOptimizerAsRegularStepGradientDescent(unit, 0.02 * unit, steps, 0.85, 1e-6)
    # Scaled so, a step moves the head's rim as far by turning (or stretching) as by shifting.
    turning = len(first.GetParameters()) - 3
    method.SetOptimizerScales([radius**2] * turning + [1.0] * 3)
    method.SetInitialTransform(transform, True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # ITK: all samples map outside the moving image
        return first
    return transform


def _method(fixed: Any, region: Any, share: float) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(share, _SEED)
    method.SetMetricFixedMask(region)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _as_affine(transform: Any) -> Any:
    """Rewrite a linear transform as an affine one about the origin of the coordinates."""
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.TransformPoint((0.0, 0.0, 0.0)))
    return affine


def _refine_affine(fixed: Sighting, moving: Sighting, transform: Any) -> Any:
    centered = sitk.AffineTransform(3)
    centered.SetCenter(fixed.center.tolist())
    centered.SetMatrix(transform.GetMatrix())
    center = np.array(transform.TransformPoint(fixed.center.tolist()))
    centered.SetTranslation((center - fixed.center).tolist())
    return _as_affine(_climb(fixed, moving, centered))


def _refine_deformable(
    fixed: Sighting, moving: Sighting, linear: Any, control_spacing: float
) -> Any:
    """Add a cubic B-spline that acts before the linear transform."""
    sides = np.array(fixed.fine.GetSize()) * np.array(fixed.fine.GetSpacing())
    mesh = np.maximum(1, np.round(sides / control_spacing)).astype(int).tolist()
    spline = sitk.BSplineTransformInitializer(fixed.fine, mesh, 3)
    inside = max(1, int(np.count_nonzero(sitk.GetArrayViewFromImage(fixed.region))))
    method = _method(fixed.fine, fixed.region, min(1.0, _DEFORMABLE_SAMPLES / inside))
    unit = fixed.spacing
    method.SetOptimizerAsRegularStepGradientDescent(
        1.6 * unit, 0.04 * unit, _DEFORMABLE_STEPS, 0.6, 1e-6
    )
    method.SetInitialTransform(spline, True)
    method.SetMovingInitialTransform(linear)
    method.Execute(fixed.fine, moving.fine)
    return sitk.CompositeTransform([linear, spline])
