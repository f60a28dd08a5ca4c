"""One perturbed pair registered: how far off the result is, and what was said of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from monai.data import MetaTensor

from monai_ddfm.apps.benchmark.alignment.heads import Matrix, points_of_head
from monai_ddfm.apps.benchmark.alignment.perturbations import Perturbed
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.registration import RegisterRigid
from monai_ddfm.transforms.registration_evidence import nearest_rigid
from monai_ddfm.utils.reports import reports_of

__all__ = ["try_one"]

_UNUSUAL_TURN = 30.0  # degrees
_UNUSUAL_STRETCH = 0.04


def try_one(case: Perturbed) -> dict[str, Any]:
    """Register a perturbed pair rigidly.

    Args:
        case: the pair.

    Returns:
        A JSON object: ``pair``, ``head``, ``modality``, ``kind``, ``seed``; the mean distances in
        mm over the fixed head from the truth, ``before_mm`` and ``error_mm``, and from the nearest
        that a rigid transform can come to it, ``rigid_error_mm`` (null where there is no truth);
        ``warning_is_called_for``, see `tables`; ``seconds`` of processor time; the report of the
        registration.
    """
    begin = time.process_time()
    try:
        out = RegisterRigid(refuse=False)(case.moving, case.fixed)
        report = dict(reports_of(out)["registration"])
    except InputError as error:  # refused before anything was searched; nothing was moved
        report = {"status": "refuse", "reasons": [str(error)], "transform": np.eye(4).tolist()}
    seconds = time.process_time() - begin
    row: dict[str, Any] = {
        "pair": case.pair,
        "head": case.head,
        "modality": case.modality,
        "kind": case.kind,
        "seed": case.seed,
        "before_mm": None,
        "error_mm": None,
        "rigid_error_mm": None,
        "warning_is_called_for": case.truth is None,
        "seconds": round(seconds, 3),
        "report": report,
    }
    if case.truth is not None:
        points = points_of_head(case.fixed, np.random.default_rng(case.seed))
        there = _mapped(case.truth, points)
        found = _mapped(np.array(report["transform"]), points)
        row["warning_is_called_for"] = _is_unusual(case.truth) or _covered(case.moving, there) < 0.5
        row["before_mm"] = _apart(points, there)
        row["error_mm"] = _apart(found, there)
        row["rigid_error_mm"] = _apart(found, _mapped(nearest_rigid(points, there), points))
    return row


def _is_unusual(truth: Matrix) -> bool:
    """Return whether the truth turns or stretches the head by more than a scanner does."""
    u, stretches, vt = np.linalg.svd(truth[:3, :3])
    turn = np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1)))
    return bool(turn > _UNUSUAL_TURN or np.abs(np.log(stretches)).max() > _UNUSUAL_STRETCH)


def _covered(volume: MetaTensor, places: Matrix) -> float:
    """Return the share of places in LPS mm that lie in the field of view of a volume."""
    inverse = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine.numpy())
    index = _mapped(inverse, places)
    inside = (index > -0.5) & (index < np.array(volume.shape[1:]) - 0.5)
    return float(inside.all(axis=1).mean())


def _mapped(matrix: Matrix, points: Matrix) -> Matrix:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _apart(one: Matrix, other: Matrix) -> float:
    return round(float(np.linalg.norm(one - other, axis=1).mean()), 3)
