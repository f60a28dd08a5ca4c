"""Heads that lie apart by a known transform, and how far a registration misses it."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.simpleitk_bridge import resample, to_simpleitk
from monai_ddfm.utils.reports import reports_of

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
AXES = (72.0, 92.0, 66.0)  # half axes of the head, mm


def radius_of(points: np.ndarray) -> np.ndarray:
    """1 on the surface of the head, more beyond it."""
    return np.sqrt(sum((points[..., a] / AXES[a]) ** 2 for a in range(3)))


def tissues(points: np.ndarray) -> dict[str, np.ndarray]:
    """A head without symmetry, as functions of the place [..., 3] in LPS mm."""
    rng = np.random.default_rng(5)
    radius = radius_of(points)
    waves = sum(
        np.cos(points @ rng.normal(0, 2 * math.pi / 45, 3) + rng.uniform(0, 6)) for _ in range(8)
    )
    ventricle = np.linalg.norm((points - [12, -8, 6]) / [10, 24, 12], axis=-1) < 1
    brain = (radius < 0.84) & ~ventricle
    return {
        "scalp": (radius < 1) & (radius > 0.92),
        "bone": (radius <= 0.92) & (radius >= 0.84),
        "gray": brain & ((waves > 0.5) | (radius > 0.76)),
        "white": brain & (waves <= 0.5) & (radius <= 0.76),
        "csf": ventricle,
    }


CONTRASTS = {
    "MR": {"scalp": 900.0, "bone": 60.0, "gray": 450.0, "white": 700.0, "csf": 150.0},
    "PET": {"scalp": 900.0, "bone": 200.0, "gray": 8000.0, "white": 2200.0, "csf": 400.0},
    "CT": {"scalp": 1060.0, "bone": 2000.0, "gray": 1040.0, "white": 1030.0, "csf": 1005.0},
}


def points_of(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    lps = FLIP @ affine
    return index @ lps[:3, :3].T + lps[:3, 3]


def head(
    modality: str = "MR",
    *,
    spacing: float = 5.0,
    shape: tuple[int, ...] = (78, 78, 60),  # much air: the working grid gets coarse, and quick
    to_head: sitk.Transform | None = None,
    noise: float = 0.02,
    **meta: object,
) -> MetaTensor:
    """Look at the head through a grid; `to_head` maps places of the grid to places in the head."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    finer = affine @ np.diag([0.5, 0.5, 0.5, 1.0])  # partial volume: eight samples in a voxel
    finer[:3, 3] -= spacing / 4
    points = points_of(finer, tuple(2 * n for n in shape))
    if to_head is not None:
        matrix = transform_matrix(to_head)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    levels = CONTRASTS[modality]
    inside = radius_of(points) < 1
    values = np.zeros(inside.shape)
    values[inside] = sum(levels[name] * mask for name, mask in tissues(points[inside]).items())
    values = values.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean(axis=(1, 3, 5))
    values = values + noise * max(levels.values()) * np.random.default_rng(1).normal(size=shape)
    if modality == "CT":
        values = values - 1000.0
    meta = {"filename_or_obj": f"{modality.lower()}.nii.gz", "modality": modality, **meta}
    tensor = torch.from_numpy(values)[None].float()
    return MetaTensor(tensor, affine=torch.from_numpy(affine), meta=meta)


def rigid(angles=(4.0, -6.0, 5.0), shift=(7.0, -9.0, 6.0)) -> sitk.Transform:
    return sitk.Euler3DTransform((5.0, 0.0, -5.0), *np.radians(angles).tolist(), shift)


HEAD_POINTS = [
    (np.array(AXES) * v / np.linalg.norm(v) * r).tolist()
    for r, v in zip(
        np.linspace(0.05, 1, 200), np.random.default_rng(3).normal(size=(200, 3)), strict=True
    )
]


def tre(found: sitk.Transform, truth: sitk.Transform, points=HEAD_POINTS) -> float:
    """Mean target registration error in mm over points of the fixed head."""
    a, b = (np.array([t.TransformPoint(p) for p in points]) for t in (found, truth))
    return float(np.linalg.norm(a - b, axis=1).mean())


def report(volume: MetaTensor) -> dict:
    return reports_of(volume)["registration"]


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    return np.reshape(transform.GetMatrix(), (3, 3))


def load(path: Path, modality: str) -> MetaTensor:
    image = nib.load(path)
    values = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))[None]
    meta = {"filename_or_obj": str(path), "modality": modality}
    return MetaTensor(values, affine=torch.from_numpy(image.affine), meta=meta)


def points_of_head(volume: MetaTensor, step: int = 12) -> list[list[float]]:
    values = volume[0].numpy()
    index = np.argwhere(values[::step, ::step, ::step] > 0.1 * np.percentile(values, 99)) * step
    lps = FLIP @ volume.affine.numpy()
    return (index @ lps[:3, :3].T + lps[:3, 3]).tolist()


def turned_by(volume: MetaTensor, move: sitk.Transform) -> MetaTensor:
    """Move a volume in space by its header alone; `move` maps old places to new ones, LPS."""
    affine = torch.from_numpy(FLIP @ transform_matrix(move) @ FLIP) @ volume.affine
    kept = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(volume.as_tensor(), affine=affine, meta=kept)


class Bend:
    """A rigid transform, and then a smooth displacement by up to 9 mm with a known formula."""

    waves = np.array([[0.031, 0.01, -0.012], [-0.008, 0.029, 0.015], [0.013, -0.011, 0.03]])

    def __init__(self, before: sitk.Transform, center: np.ndarray) -> None:
        self.before = before
        self.center = center

    def TransformPoint(self, point) -> np.ndarray:  # noqa: N802
        place = np.array(self.before.TransformPoint(point))
        return place + 5.0 * np.sin((place - self.center) @ self.waves.T)

    def bend(self, volume: MetaTensor) -> MetaTensor:
        """Displace the content of `volume`; the inverse is found by iteration."""
        points = points_of(volume.affine.numpy(), tuple(volume.shape[1:]))
        place = points
        for _ in range(12):
            place = points - 5.0 * np.sin((place - self.center) @ self.waves.T)
        grid = to_simpleitk(volume)[0]
        shift = np.ascontiguousarray((place - points).transpose(2, 1, 0, 3))
        field = sitk.GetImageFromArray(shift, isVector=True)
        field.CopyInformation(grid)
        return resample(volume, volume, sitk.DisplacementFieldTransform(field))
