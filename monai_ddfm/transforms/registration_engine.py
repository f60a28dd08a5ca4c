r"""The search behind the registration transforms: rigid, affine and B-spline by mutual information.

Over transforms :math:`T` from points of the fixed to points of the moving volume, maximize Mattes'
form of mutual information between the fixed volume :math:`F` and :math:`M \circ T`,

.. math::

    I(T) = \sum_{a, b} p_T(a, b) \log \frac{p_T(a, b)}{p_F(a)\, p_T(b)},

by regular-step gradient descent, its steps measured in millimeters of displacement. Both volumes
are first smoothed and resampled to isotropic working grids, whose spacing :math:`s` is about a
hundredth of the fixed field of view; all tolerances below are multiples of :math:`s`.

Local searches find local maxima. So there are three kinds of start:

* near: the position by the headers, the match of the heads' centers, and turns of 15 degrees about
  either. What share of them ends in one and the same place is the "agreement". They all know of one
  orientation only, so they may agree and be wrong together.
* turned: the other 23 orientations of a cube (of a body only the half turns), about the place found
  and about the centers, each searched quickly. The best of them that ends truly elsewhere is the
  "rival" of the result, or takes its place if it is clearly better.
* wide, if the near ones disagree, if the dependence found is poor, or if the rival comes close:
  hundreds of turns and shifts are looked at, the best of them optimized.

Of a body, starts are also slid along it: it is longer than what is seen of it. What an affine fit
would stretch is not asked there, for two scans of a body differ by more than two of a head.

Candidates are compared by mutual information with the moving volume continued by its background, so
that sliding out of the field of view cannot win.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.registration_evidence import Size, wanted_size
from monai_ddfm.transforms.registration_optimizer import (
    COARSE,
    FINE,
    NEAR,
    QUICK,
    Optimizer,
    distance,
    optimize,
    optimize_affine,
    optimize_deformable,
    turn_between,
)
from monai_ddfm.transforms.registration_starts import (
    NEAR_TURN,
    StartFrom,
    cube_starts,
    first_places,
    near_starts,
    slid_starts,
    starts_about,
    wide_starts,
)
from monai_ddfm.transforms.similarity import JointHistogram, WorkingImage

__all__ = ["Alignment", "Model", "Rival", "StartFrom", "align", "distance", "refine"]

Model = Literal["rigid", "affine", "deformable"]

# Blur and first step in voxels: a head has shells, and stretching one onto the next is a trap.
_AFFINE_STAGES = tuple(
    Optimizer(coarse=False, share=0.3, blur=blur, step=step)
    for blur, step in ((3.0, 1.0), (1.0, 0.25))
)
_NEAR = 2.0  # working voxels within which two results count as the same
_QUICK_NEAR = 6.0  # the same of quick searches
_FINE_BONUS = 0.02  # nats: the fine grid sees more than the coarse one that scores
_POOR_AGREEMENT = 0.3
_POOR_DEPENDENCE = 0.05
_ELSEWHERE = 30.0  # degrees between results that are truly different orientations
_PROMISING = 0.7  # of the score found: below that a turned start is not optimized to its end
_CLEARLY = 1.1  # by what factor a rival must be better to take the place
_CLOSE = 0.95  # of the score found, from which a rival is a reason to search wider
_WIDE_LOOKS = 60  # starts of the wide search that are optimized
_WIDE_TOPS = 6  # of them to the top


@dataclass(frozen=True)
class Rival:
    """The best result in a truly different orientation.

    Attributes:
        dependence: see `similarity`.
        score: mutual information as a share of the result's.
        turn: degrees between the two.
    """

    dependence: float
    score: float
    turn: float


@dataclass(frozen=True)
class Alignment:
    """What a search has found.

    Attributes:
        transform: `SimpleITK` transform from points of fixed to points of moving, LPS mm: an
            `AffineTransform` about the origin, or for "deformable" a composite of that and a
            B-spline, which acts first. A step that makes matters worse is left out.
        rigid: the rigid transform before it.
        size: what an affine fit would like; None if `transform` may stretch, and of a body.
        start: where the winning search began: "headers", "centers", "slid", "turned" or "wide".
        agreement: share of the searches, the turned ones left out, that ended where the winning
            one did.
        agreement_within_deg: how far from each other the starts of these searches were turned.
        searches: their number.
        rival: None if no other orientation was found.
    """

    transform: Any
    rigid: Any
    size: Size | None
    start: str
    agreement: float
    agreement_within_deg: float
    searches: int
    rival: Rival | None


@dataclass(frozen=True)
class _Candidate:
    transform: Any
    start: str
    score: float
    quick: bool = False


def align(
    fixed: WorkingImage,
    moving: WorkingImage,
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
            cubic B-spline).
        start: "headers" and "centers" restrict the near starts to these; "auto" uses both, or the
            headers alone if the volumes share a frame of reference.
        same_frame: whether the headers state one frame of reference.
        control_spacing: mm between control points of the B-spline.

    Returns:
        The best alignment found; how good it is must be judged by the caller.
    """
    score = JointHistogram(fixed, moving)
    names = first_places(start, same_frame=same_frame)
    starts = [(name, place) for name in names for place in near_starts(fixed, moving, name)]
    if fixed.shows == "body":
        starts += [("slid", place) for place in slid_starts(fixed, moving, names, score)]
    found = [_optimized(fixed, moving, place, name, score, NEAR) for name, place in starts]
    best = _topped(fixed, moving, max(found, key=lambda c: c.score), score)
    turned = _turned(fixed, moving, best, score)
    others = list(turned)
    if turned and turned[0].score > _CLEARLY * best.score:
        others, best = [best, *turned[1:]], _topped(fixed, moving, turned[0], score)
        about = starts_about(fixed, best.transform)
        found = [_optimized(fixed, moving, place, "turned", score, NEAR) for place in about]
    doubtful = (
        _agreement(fixed, best, found) < _POOR_AGREEMENT
        or score.dependence(best.transform) < _POOR_DEPENDENCE
        or any(c.score > _CLOSE * best.score for c in others)
    )
    if doubtful:
        wide = _wide(fixed, moving, [best, *others], score)
        found += wide
        top = max(wide, key=lambda c: c.score)
        if top.score > best.score:
            best = _topped(fixed, moving, top, score)
    chosen, place = _refined(fixed, moving, best, score)
    agreement = _agreement(fixed, place, found)
    rivals = [
        c for c in [*found, *others] if turn_between(c.transform, place.transform) > _ELSEWHERE
    ]
    rival = max(rivals, key=lambda c: c.score, default=None)
    transform = rigid = chosen.transform
    size = None
    if model == "rigid" and fixed.shows == "head":
        size = wanted_size(fixed, moving, score, rigid)
        if size.is_suspect:  # a rigid search puts one rim right and the other wrong
            transform = rigid = size.nearest
    if model != "rigid":
        for how in _AFFINE_STAGES:
            stretched = optimize_affine(fixed, moving, transform, how)
            transform = _kept(score, transform, stretched)
    if model == "deformable":
        bent = optimize_deformable(fixed, moving, transform, control_spacing)
        transform = _kept(score, transform, bent)
    return Alignment(
        transform=transform,
        rigid=rigid,
        size=size,
        start=chosen.start,
        agreement=agreement,
        agreement_within_deg=180.0 if doubtful else NEAR_TURN,
        searches=len(found),
        rival=None if rival is None else _rival(rival, chosen, score),
    )


def refine(fixed: WorkingImage, moving: WorkingImage, transform: Any) -> tuple[Any, float]:
    """Optimize from a given transform to the nearest maximum, rigidly if it is rigid.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        transform: a given linear transform, fixed to moving.

    Returns:
        The bettered transform, and the mean mm by which that moves the corners of the head.
    """
    matrix = transform_matrix(transform)[:3, :3]
    rigid = np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6) and np.linalg.det(matrix) > 0
    refined = (optimize if rigid else optimize_affine)(fixed, moving, transform, COARSE)
    return refined, distance(fixed, transform, refined)


def _optimized(
    fixed: WorkingImage,
    moving: WorkingImage,
    place: Any,
    name: str,
    score: JointHistogram,
    how: Optimizer,
) -> _Candidate:
    top = optimize(fixed, moving, place, how)
    return _Candidate(top, name, score(top), quick=how is QUICK)


def _turned(
    fixed: WorkingImage, moving: WorkingImage, best: _Candidate, score: JointHistogram
) -> list[_Candidate]:
    """Optimize from the other turns of a cube; return what is truly elsewhere, best first."""
    found = []
    for places in cube_starts(fixed, moving, best.transform):
        place = max(places, key=score)
        found.append(_optimized(fixed, moving, place, "turned", score, QUICK))
    elsewhere = [c for c in found if turn_between(c.transform, best.transform) > _ELSEWHERE]
    elsewhere = sorted(elsewhere, key=lambda c: -c.score)[:2]
    found = [
        _optimized(fixed, moving, c.transform, "turned", score, COARSE)
        if c.score > _PROMISING * best.score
        else c
        for c in elsewhere
    ]
    return sorted(found, key=lambda c: -c.score)


def _wide(
    fixed: WorkingImage, moving: WorkingImage, bases: Sequence[_Candidate], score: JointHistogram
) -> list[_Candidate]:
    """Look at many turns and shifts about known places, and optimize the best of them."""
    places = wide_starts(fixed, moving, [c.transform for c in bases])
    looks = sorted(((score(place), place) for place in places), key=lambda look: -look[0])
    found = [
        _optimized(fixed, moving, start, "wide", score, QUICK) for _, start in looks[:_WIDE_LOOKS]
    ]
    found.sort(key=lambda c: -c.score)
    tops: list[_Candidate] = []
    for one in found:
        if len(tops) < _WIDE_TOPS and all(
            distance(fixed, one.transform, top.transform) > _QUICK_NEAR * fixed.spacing
            for top in tops
        ):
            tops.append(_optimized(fixed, moving, one.transform, "wide", score, COARSE))
    return found + tops


def _topped(
    fixed: WorkingImage, moving: WorkingImage, one: _Candidate, score: JointHistogram
) -> _Candidate:
    """Optimize once more: a far start may need more steps."""
    top = _optimized(fixed, moving, one.transform, one.start, score, COARSE)
    return max(one, top, key=lambda c: c.score)


def _refined(
    fixed: WorkingImage, moving: WorkingImage, best: _Candidate, score: JointHistogram
) -> tuple[_Candidate, _Candidate]:
    """Refine on the fine grid; return the result and its place on the coarse one.

    The headers' place is kept if that is better.
    """
    fine = _optimized(fixed, moving, best.transform, best.start, score, FINE)
    untouched = sitk.AffineTransform(3)
    there = _Candidate(untouched, "headers", score(untouched))
    choices = [(fine.score + _FINE_BONUS, fine, best), (best.score, best, best)]
    choices.append((there.score, there, there))
    _, chosen, place = max(choices, key=lambda c: c[0])
    return chosen, place


def _agreement(fixed: WorkingImage, best: _Candidate, voters: Iterable[_Candidate]) -> float:
    near = {quick: fixed.spacing * (_QUICK_NEAR if quick else _NEAR) for quick in (False, True)}
    return float(
        np.mean([distance(fixed, best.transform, c.transform) < near[c.quick] for c in voters])
    )


def _rival(rival: _Candidate, chosen: _Candidate, score: JointHistogram) -> Rival:
    share = rival.score / max(score(chosen.transform), 1e-9)
    turn = turn_between(rival.transform, chosen.transform)
    return Rival(score.dependence(rival.transform), share, turn)


def _kept(score: JointHistogram, old: Any, new: Any) -> Any:
    """Return `new` unless it is worse, as when it has risen by leaving the field of view."""
    return new if score(new) + _FINE_BONUS >= score(old) else old
