"""A simulated abdomen, small, as volumes that lie apart by a known transform."""

from __future__ import annotations

from functools import cache

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_ddfm.apps.demo import Anatomy
from monai_ddfm.apps.demo.body import build_body
from monai_ddfm.apps.demo.body_scans import BODY_GRIDS, body_moving, body_mri
from monai_ddfm.apps.demo.modalities import Volume, rigid_truth

VOXEL, SCALE = 6.0, 2.0


@cache
def abdomen() -> Anatomy:
    return build_body("abdomen", 0, voxel=VOXEL)


def truth_of(modality: str) -> sitk.Euler3DTransform:
    """Points of the scan to points of the MRI."""
    return rigid_truth(0, modality, BODY_GRIDS[modality].center)


@cache
def scans_of_abdomen(modality: str, scale: float = SCALE) -> tuple[Volume, Volume]:
    """The MRI and the other scan."""
    body = abdomen()
    moving = body_moving(body, modality, 0, scale, truth_of(modality))
    return body_mri(body, "abdomen", 0, scale), moving


def as_tensor(volume: Volume, **meta: object) -> MetaTensor:
    values = torch.from_numpy(volume.data.astype(np.float32))[None]
    return MetaTensor(values, affine=torch.from_numpy(volume.affine), meta=dict(meta))
