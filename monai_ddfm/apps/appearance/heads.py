r"""A simulated head in two scanners, and where its tissues are on the grid of the fusion.

Means are taken over pure tissue. With the share :math:`s_t` of a tissue t in each voxel, as the
voxels of the MRI resolve it, and the distance d to the nearest voxel that is mostly something else,

.. math::
    P_t = \{ s_t > 0.95,\ d(\cdot, \{ s_t < \tfrac12 \}) \ge 1.5\,\text{mm} \} .

Lesions are no tissue here. Ventricles are pure fluid far inside the brain. The cold lesion, which
only a tracer shows, lies in gray and white matter alike; so its gray matter is compared with gray
matter beside it, farther away than the tracer is blurred and near enough for the same coil
sensitivity. All of it is where the other scanner has measured, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from numpy.typing import NDArray
from scipy import ndimage

from monai_ddfm.apps.benchmark.bundle import preprocess_volumes
from monai_ddfm.apps.benchmark.cases import Case, case_of_volumes
from monai_ddfm.apps.demo.anatomy import Anatomy
from monai_ddfm.apps.demo.modalities import (
    Volume,
    make_moving,
    make_mri,
    rigid_truth,
    true_uptake,
)
from monai_ddfm.apps.demo.subject import write_volume
from monai_ddfm.transforms.simpleitk_bridge import resample

__all__ = ["Head", "simulate_head"]

Mask = NDArray[np.bool_]

_PURE: Final = 0.95
_APART_MM: Final = 1.5
_DEEP_MM: Final = 15.0
# Little gray matter in the lesion is pure.
_MOSTLY: Final = 0.8
_BESIDE_MM: Final = (8.0, 30.0)
_BRAIN: Final = ("gray", "white", "csf", "hot", "cold")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A simulated head, as the methods get it, and its truth.

    Attributes:
        seed: of the head.
        case: both sources on one grid.
        regions: boolean [H, W, D] by name: ``white``, ``gray``, ``ventricles``, ``bone``, the core
            of the lesions that are ``hot``, gray matter in the ``cold`` one and ``beside`` it.
    """

    seed: int
    case: Case
    regions: Mapping[str, Mask]


def simulate_head(
    anatomy: Anatomy, modality: str, *, seed: int, scale: float, options: Mapping[str, Any]
) -> Head:
    """Simulate a head in two scanners, and bring both volumes to one grid as a run does.

    Args:
        anatomy: of the head.
        modality: PET, CT or SPECT.
        seed: chooses movement and noise of the scans.
        scale: factor on the edges of the voxels.
        options: of the bundle's configuration.

    Raises:
        InputError: if the volumes cannot be brought to one grid.
    """
    motion = rigid_truth(seed, modality)
    scan = make_moving(anatomy, modality, seed, scale, motion)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.nii.gz" for name in ("fixed", "moving")]
        write_volume(make_mri(anatomy, seed, scale), paths[0])
        write_volume(scan, paths[1])
        volumes = preprocess_volumes(*paths, modality=modality, options=options)
    grid: MetaTensor = volumes["moving"]
    everywhere = Volume(np.ones_like(scan.data, dtype=np.float32), scan.affine)
    seen = _placed(everywhere, grid, motion.GetInverse(), interpolation="nearest")
    regions = _regions(anatomy, grid, scale)
    return Head(
        seed=seed,
        case=case_of_volumes(volumes, name=f"head {seed}", modality=modality),
        regions={name: region & (seen > 0.5) for name, region in regions.items()},
    )


def _regions(anatomy: Anatomy, grid: MetaTensor, scale: float) -> dict[str, Mask]:
    """Return the regions on a grid, by name."""
    edges = affine_to_spacing(grid.affine)
    spacing = [float(edge) for edge in edges]
    known = (*anatomy.tissues, *anatomy.lesions)

    def share(*names: str, of: tuple[str, ...] = known) -> NDArray[np.float32]:
        """Return the share of some tissues; lesions that are not in `of` are not there."""
        uptake = true_uptake(anatomy, {name: float(name in names) for name in of}, scale)
        return _placed(uptake, grid, sitk.Transform(3, sitk.sitkIdentity))

    def pure(*names: str) -> Mask:
        part = share(*names)
        return (part > _PURE) & (_depth(part >= 0.5, spacing) >= _APART_MM)

    cold, lesions = share("cold"), share(*anatomy.lesions)
    gray = share("gray", of=tuple(anatomy.tissues)) > _MOSTLY
    away = _depth(cold < 0.5, spacing)
    near, far = _BESIDE_MM
    return {
        "white": pure("white"),
        "gray": pure("gray"),
        "ventricles": pure("csf") & (_depth(share(*_BRAIN) >= 0.5, spacing) > _DEEP_MM),
        "bone": pure("compact", "diploe"),
        "hot": pure("hot"),
        "cold": gray & (cold > _MOSTLY),
        "beside": gray & (lesions < 1 - _PURE) & (away > near) & (away < far),
    }


def _depth(inside: Mask, spacing: list[float]) -> NDArray[np.float64]:
    """Return the distance in mm of every voxel to the nearest one that is not inside."""
    return np.asarray(ndimage.distance_transform_edt(inside, sampling=spacing))


def _placed(
    volume: Volume, grid: MetaTensor, transform: sitk.Transform, **how: Any
) -> NDArray[np.float32]:
    """Bring a volume onto a grid; there is nothing beyond it."""
    data = torch.from_numpy(np.asarray(volume.data, dtype=np.float32))[None]
    source = MetaTensor(data, affine=torch.from_numpy(volume.affine))
    placed = resample(source, grid, transform, outside=0.0, **how)
    return np.asarray(placed.as_tensor()[0], dtype=np.float32)
