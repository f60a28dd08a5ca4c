"""What a run would do, found out by the run's own parts, without fusing and without writing.

Everything up to the registration is done as in a run: both volumes are read and judged, the patient
compared, the grid chosen, the gray scales made, the prior loaded, the output folder tried. The
registration itself is not searched for. The time of the sampling is measured, that of the rest
reckoned.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_ddfm.inferers.expecting import expected_sampling
from monai_ddfm.transforms.intensity import NormalizeByModalityd
from monai_ddfm.transforms.registration import RegisterVolumesd
from monai_ddfm.transforms.sources import LoadReferenceMaskd
from monai_ddfm.utils.remarks import warnings
from monai_ddfm.utils.reports import collect_reports

__all__ = ["plan_only"]

_BESIDE_S = 3.0
_BESIDE_S_PER_VOXEL = 0.8e-6
"""Of everything but the sampling: `monai-ddfm benchmark-speed --parts run` on an AMD EPYC, two
cores, 2026-11-29, took 4 s beside the sampling of 180 x 216 x 66 voxels."""


def plan_only(evaluator: Any, dataset: Any, output_dir: str | Path) -> None:
    """Do what a run does up to its registration, and leave a plan where its results would be.

    The configuration calls this in place of the evaluator's run. The plan is logged as well, for
    MONAI's own command.

    Args:
        evaluator: as the configuration makes it; gets the plan as its output.
        dataset: of one case, not loaded.
        output_dir: where a run would write.

    Raises:
        InputError: as a run would end with.
    """
    chain = dataset.transform.transforms
    start = next(i for i, step in enumerate(chain) if isinstance(step, RegisterVolumesd))
    case: dict[Any, Any] = Compose(chain[:start])(dataset.data[0])
    reports = collect_reports(case)
    _scale(case, chain[start:])
    device = evaluator.state.device
    sampling = expected_sampling(
        evaluator.inferer,
        evaluator.network,
        case["fixed_scaled"],
        moving=len(chain[start].moving_keys),
        device=device,
    )
    beside = _BESIDE_S + _BESIDE_S_PER_VOXEL * case["fixed"][0].numel()
    found = warnings({"reports": reports})
    plan = {
        "reading": reports["reading"],
        "patient": _patient(list(reports["patient"].values())),
        "grid": _grid(case["fixed"]),
        "registration": chain[start].register.method,
        "preset": sampling.preset,
        "fusions": sampling.fusions,
        "device": str(device),
        "seconds": beside + sampling.seconds,
        "seconds_if_clean": beside if sampling.may_spare_prior else None,
        "warnings": found,
    }
    logging.getLogger(__name__).info("dry run, nothing is written: %s", plan)
    outputs = {"folder": str(output_dir), "files": {}, "provenance": {"plan": plan}}
    evaluator.state.output = [{"outputs": {**outputs, "warnings": found}}]


def _scale(case: dict[Any, Any], chain: Sequence[Any]) -> None:
    """Bring the volumes to gray levels as a run does, each on its own grid."""
    for step in chain:
        if isinstance(step, LoadReferenceMaskd) and step.mask is not None:
            # It is placed by the registration, and the moving volume scaled by what is in it.
            case["reference_mask"] = torch.ones_like(case["moving"][:1])
        if isinstance(step, NormalizeByModalityd):
            case |= {key: case[str(key).removesuffix("_scaled")] for key in step.keys}
            case |= step(case)


def _patient(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what is known of the patients of all moving volumes: the least of any of them."""
    return min(reports, key=lambda report: (False, None, True).index(report["same"]))


def _grid(volume: MetaTensor) -> dict[str, Any]:
    spacing = np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0)
    shape = [int(n) for n in volume.shape[1:]]
    return {"shape": shape, "spacing_mm": [round(float(s), 6) for s in spacing]}
