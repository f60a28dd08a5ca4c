"""How far a registration can be trusted: figures, and the verdict ok, warn or refuse.

The *dependence* is the mutual information after the registration as a share of the smaller entropy:
unrelated volumes stay near 0.02, anything head-shaped reaches 0.1, and MRI and PET of one head 0.2
to 0.35. The *agreement* is the share of searches from near starts that ended in the same place. It
cannot tell a head from one that is turned round, for all near starts know one orientation only. The
*rival* can: it is the best that was found in a truly different orientation. Sharpness, outlines and
the stretch that an affine fit wants are in `registration_evidence`; the others (overlap,
displacement, stretch, folding) catch what those cannot see. How they make the verdict is in
`registration_verdict`. Of a body, "head" in these figures is the body.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.body_outline import Region
from monai_ddfm.transforms.registration_engine import Alignment, refine
from monai_ddfm.transforms.registration_evidence import outlines, sharpness
from monai_ddfm.transforms.registration_risk import failure_probability
from monai_ddfm.transforms.registration_verdict import NOT_CALIBRATED, NOT_SEEN, judge
from monai_ddfm.transforms.similarity import JointHistogram, WorkingImage
from monai_ddfm.transforms.simpleitk_bridge import field_of_view_overlap

__all__ = ["RegistrationQuality", "assess"]

_NOT_REFINED = 3.0  # working voxels
_MISTAKEN_DIRECTION = 0.05  # nats that the inverse of a given transform is better


@dataclass(frozen=True)
class RegistrationQuality:
    """The figures by which a registration is judged.

    Attributes:
        region: what is shown, "head" or "body".
        status: "ok"; "warn": usable, look at it; "refuse": do not fuse.
        reasons: why it is not "ok", as clauses.
        notes: what is worth knowing whatever the verdict.
        not_seen: what no figure sees.
        failure_probability: that it has failed, by all figures together; see `registration_risk`.
            None if nothing was searched, and of a body, for which it is not calibrated.
        mi_before: mutual information in nats around the head with the headers alone.
        mi_after: the same with the transform.
        dependence: `mi_after` as a share of the smaller entropy, about 0 to 1.
        agreement: share of searches, those from other orientations left out, that ended in the
            same place; None if nothing was searched.
        agreement_within_deg: how far the starts of these searches were turned: 15, or 180 if they
            disagreed and the search went wider.
        rival_dependence: dependence of the best result in an orientation more than 30 degrees off.
        rival_score: its mutual information as a share of the result's.
        rival_turn_deg: angle between the two.
        sharpness: mean share of the mutual information that is lost a little aside, about 0 to 1.
        wanted_stretch: largest and smallest stretch of an affine fit; None if the transform may
            stretch by itself, and of a body.
        affine_gain: what that fit gains in mutual information, as a share.
        start: where the winning search began: "headers", "centers", "slid" (along a body),
            "turned" or "wide"; None if nothing was searched.
        fov_overlap_before: share of the fixed volume inside the moving field of view, by headers.
        fov_overlap: the same with the transform.
        head_covered: share of the fixed head inside the moving field of view.
        head_overlap: Dice coefficient of the two heads; low where one shows only the brain.
        outline_offset_mm: median signed distance of the moving head's surface from the fixed one's,
            negative inside; None if there is too little of it.
        outline_spread_mm: half of what lies between its 10th and 90th percentile.
        corner_displacement_mm: how far the transform moves the eight corners of the box around the
            fixed head.
        displacement_mm: the largest of these.
        center_shift_mm: displacement of the head's center, LPS.
        rotation_deg: angle of the rotation (of the polar decomposition, if affine); None if not
            linear.
        stretch: largest and smallest singular value; None if not linear.
        volume_change: smallest and largest local change of volume in the head; None if linear.
    """

    region: Region
    status: Literal["ok", "warn", "refuse"]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    not_seen: tuple[str, ...]
    failure_probability: float | None
    mi_before: float
    mi_after: float
    dependence: float
    agreement: float | None
    agreement_within_deg: float | None
    rival_dependence: float | None
    rival_score: float | None
    rival_turn_deg: float | None
    sharpness: float | None
    wanted_stretch: tuple[float, float] | None
    affine_gain: float | None
    start: str | None
    fov_overlap_before: float
    fov_overlap: float
    head_covered: float
    head_overlap: float
    outline_offset_mm: float | None
    outline_spread_mm: float | None
    corner_displacement_mm: tuple[float, ...]
    displacement_mm: float
    center_shift_mm: tuple[float, ...]
    rotation_deg: float | None
    stretch: tuple[float, float] | None
    volume_change: tuple[float, float] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON object, rounded to 6 digits after the point."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def assess(
    fixed: WorkingImage,
    moving: WorkingImage,
    transform: Any,
    *,
    alignment: Alignment | None = None,
    same_frame: bool = False,
    positions: tuple[str, str] = ("", ""),
) -> RegistrationQuality:
    """Judge a transform between two volumes.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        transform: maps points of fixed to points of moving.
        alignment: how the transform was found; None if it was given.
        same_frame: whether the headers state one frame of reference.
        positions: of the patient by the headers, fixed and moving: "HFS", "FFS"; "" if unknown.

    Returns:
        The figures and the verdict.
    """
    information = JointHistogram(fixed, moving)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    moved = np.array([transform.TransformPoint(p) for p in fixed.corners.tolist()])
    shifts = np.linalg.norm(moved - fixed.corners, axis=1)
    center = np.array(transform.TransformPoint(fixed.center.tolist())) - fixed.center
    linear = transform.IsLinear()
    rotation, stretch = _turn_and_stretch(transform) if linear else (None, None)
    covered, dice = _head_overlap(fixed, moving, transform)
    figures: dict[str, Any] = {
        "mi_before": information(identity),
        "mi_after": information(transform),
        "dependence": information.dependence(transform),
        "agreement": alignment.agreement if alignment else None,
        "start": alignment.start if alignment else None,
        **_evidence(fixed, moving, transform, information, alignment),
        "fov_overlap_before": field_of_view_overlap(fixed.fine, moving.fine, identity),
        "fov_overlap": field_of_view_overlap(fixed.fine, moving.fine, transform),
        "head_covered": covered,
        "head_overlap": dice,
        "corner_displacement_mm": tuple(shifts.tolist()),
        "displacement_mm": float(shifts.max()),
        "center_shift_mm": tuple(center.tolist()),
        "rotation_deg": rotation,
        "stretch": stretch,
        "volume_change": None if linear else _volume_change(fixed, transform),
    }
    region = fixed.shows
    calibrated = alignment is not None and region == "head"
    figures["failure_probability"] = failure_probability(figures) if calibrated else None
    refusals, warnings = judge(figures, same_frame=same_frame, region=region)
    if alignment is None and not refusals:
        warnings += _doubts_about_given(fixed, moving, transform, information)
    status: Literal["ok", "warn", "refuse"] = "refuse" if refusals else "warn" if warnings else "ok"
    uncalibrated = (NOT_CALIBRATED,) if alignment is not None and not calibrated else ()
    return RegistrationQuality(
        region=region,
        status=status,
        reasons=(*refusals, *warnings),
        notes=(*_notes(positions, rotation, region), *uncalibrated),
        not_seen=NOT_SEEN[region],
        **figures,
    )


def _notes(positions: tuple[str, str], rotation: float | None, region: Region) -> tuple[str, ...]:
    if not all(positions) or positions[0] == positions[1]:
        return ()
    turned = "" if rotation is None else f"; the {region} was turned by {rotation:.0f} degrees"
    return (
        f"the patient lay differently by the headers, {positions[0]} for the fixed and "
        f"{positions[1]} for the moving volume{turned}",
    )


def _evidence(
    fixed: WorkingImage,
    moving: WorkingImage,
    transform: Any,
    information: JointHistogram,
    alignment: Alignment | None,
) -> dict[str, Any]:
    """Return the figures that say whether a search has found the right place."""
    lie = outlines(fixed, moving, transform)
    found: dict[str, Any] = {
        "outline_offset_mm": lie and lie.offset,
        "outline_spread_mm": lie and lie.spread,
        "agreement_within_deg": None,
        "rival_score": None,
        "rival_dependence": None,
        "rival_turn_deg": None,
        "sharpness": None,
        "wanted_stretch": None,
        "affine_gain": None,
    }
    if alignment is None:
        return found
    rival, size = alignment.rival, alignment.size
    return found | {
        "agreement_within_deg": alignment.agreement_within_deg,
        "rival_score": rival and rival.score,
        "rival_dependence": rival and rival.dependence,
        "rival_turn_deg": rival and rival.turn,
        "wanted_stretch": size and size.stretch,
        "affine_gain": size and size.gain,
        "sharpness": sharpness(fixed, information, alignment.rigid),
    }


def _doubts_about_given(
    fixed: WorkingImage, moving: WorkingImage, transform: Any, information: JointHistogram
) -> list[str]:
    """Look whether a given alignment is the wrong way round, or could easily be bettered."""
    doubts = []
    here = information(transform)
    if transform.IsLinear():
        inverse = transform.GetInverse()
        if information(inverse) > here + _MISTAKEN_DIRECTION:
            doubts.append("its inverse fits better (the file may map moving to fixed)")
        refined, moved_by = refine(fixed, moving, transform)
        if moved_by > _NOT_REFINED * fixed.spacing and information(refined) > here:
            doubts.append(f"a registration would still move the {fixed.shows} by {moved_by:.0f} mm")
    return doubts


def _turn_and_stretch(transform: Any) -> tuple[float, tuple[float, float]]:
    matrix = transform_matrix(transform)[:3, :3]
    u, stretch, vt = np.linalg.svd(matrix)
    cosine = (np.trace(u @ vt) - 1) / 2
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return angle, (float(stretch[0]), float(stretch[-1]))


def _head_overlap(fixed: WorkingImage, moving: WorkingImage, transform: Any) -> tuple[float, float]:
    """Return the share of the fixed head in the moving field of view, and the heads' Dice."""
    nearest = sitk.sitkNearestNeighbor
    labels = sitk.Resample(moving.head + 1, fixed.fine, transform, nearest, 0)
    head = sitk.GetArrayViewFromImage(fixed.head) > 0
    moved: npt.NDArray[np.uint8] = sitk.GetArrayFromImage(labels)
    covered = float((moved[head] > 0).mean()) if head.any() else 0.0
    both = np.count_nonzero(head & (moved == 2))
    total = np.count_nonzero(head) + np.count_nonzero(moved == 2)
    return covered, 2 * both / total if total else 0.0


def _volume_change(fixed: WorkingImage, transform: Any) -> tuple[float, float]:
    """Return the extremes of the Jacobian determinant in the head, on the coarse grid."""
    grid = fixed.coarse
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )
    jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    head = sitk.Resample(fixed.head, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    inside = jacobian[sitk.GetArrayViewFromImage(head) > 0]
    return (float(inside.min()), float(inside.max())) if inside.size else (1.0, 1.0)


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value
