"""How far a registration can be trusted: figures, and the verdict ok, warn or refuse.

Two figures decide. The *dependence* is the mutual information after the registration as a share of
the smaller entropy: unrelated volumes stay near 0.02, anything head-shaped reaches 0.1, and MRI and
PET of one head 0.2 to 0.35. The *agreement* is the share of searches from different starts that
ended in the same place: near 1 for two volumes of one head, a few percent where there is no right
answer. The others (overlap, displacement, stretch, folding) catch what those two cannot see.

What no figure can see is a volume mirrored left to right: a head is too symmetric for that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from monai_ddfm.transforms.registration_engine import Alignment, settle
from monai_ddfm.transforms.registration_evidence import outlines, sharpness, wanted_stretch
from monai_ddfm.transforms.similarity import JointHistogram, Sighting
from monai_ddfm.transforms.simpleitk_bridge import field_of_view_overlap
from monai_ddfm.transforms.transform_files import transform_matrix

__all__ = ["RegistrationQuality", "assess"]

_MIN_DEPENDENCE = (0.03, 0.08)  # below the first: refuse; below the second: warn
_MIN_AGREEMENT = (0.12, 0.3)
_MIN_COVERED = (0.05, 0.5)
_MAX_STRETCH = (1.5, 1.2)
_MIN_VOLUME_CHANGE = (0.0, 0.3)
_FAR_IN_ONE_FRAME = 30.0  # mm
_LARGE_TURN = 45.0  # degrees
_NOT_SETTLED = 3.0  # working voxels
_MISTAKEN_DIRECTION = 0.05  # nats that the inverse of a given transform is better


@dataclass(frozen=True)
class RegistrationQuality:
    """The figures by which a registration is judged.

    Attributes:
        status: "ok"; "warn": usable, look at it; "refuse": do not fuse.
        reasons: why it is not "ok", as clauses.
        mi_before: mutual information in nats around the head with the headers alone.
        mi_after: the same with the transform.
        dependence: `mi_after` as a share of the smaller entropy, about 0 to 1.
        agreement: share of searches that ended in the same place; None if nothing was searched.
        start: where the winning search began; None if nothing was searched.
        fov_overlap_before: share of the fixed volume inside the moving field of view, by headers.
        fov_overlap: the same with the transform.
        head_covered: share of the fixed head inside the moving field of view.
        head_overlap: Dice coefficient of the two heads; low where one shows only the brain.
        corner_displacement_mm: how far the transform moves the eight corners of the box around the
            fixed head.
        displacement_mm: the largest of these.
        center_shift_mm: displacement of the head's center, LPS.
        rotation_deg: angle of the rotation (of the polar decomposition, if affine); None if not
            linear.
        stretch: largest and smallest singular value; None if not linear.
        volume_change: smallest and largest local change of volume in the head; None if linear.
    """

    status: Literal["ok", "warn", "refuse"]
    reasons: tuple[str, ...]
    mi_before: float
    mi_after: float
    dependence: float
    agreement: float | None
    start: str | None
    agreement_within_deg: float | None
    rival_score: float | None
    rival_dependence: float | None
    rival_turn_deg: float | None
    sharpness: float | None
    wanted_stretch: tuple[float, float] | None
    affine_gain: float | None
    outline_offset_mm: float | None
    outline_spread_mm: float | None
    fov_overlap_before: float
    fov_overlap: float
    head_covered: float
    head_overlap: float
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
    fixed: Sighting,
    moving: Sighting,
    transform: Any,
    *,
    alignment: Alignment | None = None,
    same_frame: bool = False,
) -> RegistrationQuality:
    """Judge a transform between two volumes.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        transform: maps points of fixed to points of moving.
        alignment: how the transform was found; None if it was given.
        same_frame: whether the headers state one frame of reference.

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
    refusals, warnings = _verdict(figures, same_frame=same_frame)
    if alignment is None and not refusals:
        warnings += _doubts_about_given(fixed, moving, transform, information)
    status: Literal["ok", "warn", "refuse"] = "refuse" if refusals else "warn" if warnings else "ok"
    return RegistrationQuality(status=status, reasons=(*refusals, *warnings), **figures)


def _evidence(
    fixed: Sighting,
    moving: Sighting,
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
    rival = alignment.rival
    stretch, gain = wanted_stretch(fixed, moving, information, alignment.rigid)
    return found | {
        "agreement_within_deg": alignment.agreement_within_deg,
        "rival_score": rival and rival.score,
        "rival_dependence": rival and rival.dependence,
        "rival_turn_deg": rival and rival.turn,
        "sharpness": sharpness(fixed, information, alignment.rigid),
        "wanted_stretch": stretch,
        "affine_gain": gain,
    }


def _verdict(figures: dict[str, Any], *, same_frame: bool) -> tuple[list[str], list[str]]:
    """Return the reasons to refuse and the reasons to warn."""
    searched = figures["agreement"] is not None
    found: list[tuple[bool, bool, str]] = [
        (
            figures["fov_overlap"] <= 0,
            figures["head_covered"] < _MIN_COVERED[1],
            f"the moving field of view covers {figures['head_covered']:.0%} of the fixed head",
        ),
        (
            searched and figures["dependence"] < _MIN_DEPENDENCE[0],
            figures["dependence"] < _MIN_DEPENDENCE[1],
            f"the volumes hardly predict each other (dependence {figures['dependence']:.3f})",
        ),
    ]
    if searched:
        agreement = figures["agreement"]
        words = f"searches from different starts disagree (agreement {agreement:.0%})"
        found.append((agreement < _MIN_AGREEMENT[0], agreement < _MIN_AGREEMENT[1], words))
        few = f"only {figures['head_covered']:.0%} of the fixed head is left to compare"
        found.append((figures["head_covered"] < _MIN_COVERED[0], False, few))
    if searched and same_frame:
        far = f"it moves the head by {figures['displacement_mm']:.0f} mm within one frame"
        found.append((False, figures["displacement_mm"] > _FAR_IN_ONE_FRAME, far))
    if searched and figures["rotation_deg"] is not None:
        turned = f"it turns the head by {figures['rotation_deg']:.0f} degrees"
        found.append((False, figures["rotation_deg"] > _LARGE_TURN, turned))
    if figures["stretch"] is not None:
        most = max(figures["stretch"][0], 1 / max(figures["stretch"][1], 1e-9))
        text = f"it stretches or shrinks the head by a factor of {most:.2f}"
        found.append((searched and most > _MAX_STRETCH[0], most > _MAX_STRETCH[1], text))
    if figures["volume_change"] is not None:
        least = figures["volume_change"][0]
        text = f"it compresses the head locally to {least:.2f} of its volume"
        found.append((least <= _MIN_VOLUME_CHANGE[0], least < _MIN_VOLUME_CHANGE[1], text))
    refusals = [text for refuse, _, text in found if refuse]
    warnings = [text for refuse, warn, text in found if warn and not refuse]
    return refusals, warnings


def _doubts_about_given(
    fixed: Sighting, moving: Sighting, transform: Any, information: JointHistogram
) -> list[str]:
    """Look whether a given alignment is the wrong way round, or could easily be bettered."""
    doubts = []
    here = information(transform)
    if transform.IsLinear():
        inverse = transform.GetInverse()
        if information(inverse) > here + _MISTAKEN_DIRECTION:
            doubts.append("its inverse fits better (the file may map moving to fixed)")
        settled, moved_by = settle(fixed, moving, transform)
        if moved_by > _NOT_SETTLED * fixed.spacing and information(settled) > here:
            doubts.append(f"a registration would still move the head by {moved_by:.0f} mm")
    return doubts


def _turn_and_stretch(transform: Any) -> tuple[float, tuple[float, float]]:
    matrix = transform_matrix(transform)[:3, :3]
    u, stretch, vt = np.linalg.svd(matrix)
    cosine = (np.trace(u @ vt) - 1) / 2
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return angle, (float(stretch[0]), float(stretch[-1]))


def _head_overlap(fixed: Sighting, moving: Sighting, transform: Any) -> tuple[float, float]:
    """Return the share of the fixed head in the moving field of view, and the heads' Dice."""
    nearest = sitk.sitkNearestNeighbor
    labels = sitk.Resample(moving.head + 1, fixed.fine, transform, nearest, 0)
    head = sitk.GetArrayViewFromImage(fixed.head) > 0
    moved: npt.NDArray[np.uint8] = sitk.GetArrayFromImage(labels)
    covered = float((moved[head] > 0).mean()) if head.any() else 0.0
    both = np.count_nonzero(head & (moved == 2))
    total = np.count_nonzero(head) + np.count_nonzero(moved == 2)
    return covered, 2 * both / total if total else 0.0


def _volume_change(fixed: Sighting, transform: Any) -> tuple[float, float]:
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
