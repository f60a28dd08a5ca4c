r"""What a result says about itself, beyond how well the volumes predict each other.

* Sharpness: by what share mutual information falls, on average, if the head is shifted or turned
  so that its rim moves by a tenth of the radius. A maximum that is right is sharp.
* Outlines: the surface of the moving head, where its field of view shows it, lies at signed
  distances :math:`d` from the surface of the fixed one, negative inside. The median is large where
  one volume shows only the brain. The spread, half of what lies between the 10th and the 90th
  percentile, stays small as long as pose and size are right.
* Wanted stretch: the singular values of :math:`A R^{-1}`, where :math:`A` is a coarse affine search
  from the rigid result :math:`R`. Two scans of one head differ by a few percent at most. What it
  gains is measured in two ways, and the smaller counts: over the whole fixed head, where sliding
  out of the moving field of view cannot win; and where both :math:`A` and :math:`R` see the moving
  volume, where covering more of the head cannot, as a slab does that is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.registration_optimizer import Optimizer, linear, optimize_affine
from monai_ddfm.transforms.similarity import JointHistogram, WorkingImage

__all__ = [
    "Outlines",
    "Size",
    "nearest_rigid",
    "outlines",
    "sharpness",
    "suspect_stretch",
    "wanted_size",
]

Matrix = NDArray[np.float64]

# Gradients of a smoothed gradient image bias the size by some percent; differences do not.
_AFFINE = Optimizer(coarse=True, share=0.5, step=0.3, blur=0.5, gradient=False)
_AFFINE_OF_FEW = Optimizer(coarse=False, share=0.3, step=0.3, blur=0.5, gradient=False)
_FEW = 9.0  # coarse voxels in the radius of a head: with fewer its shells are not told apart
_STRETCH = 0.04
_GAIN = 0.05
_ASIDE = 0.15  # of the radius of the head
_FEWEST = 50  # voxels of an outline


@dataclass(frozen=True)
class Outlines:
    """How the surfaces of the two heads lie to each other, in mm.

    Attributes:
        offset: median signed distance of the moving surface from the fixed one, negative inside.
        spread: half of what lies between the 10th and the 90th percentile.
    """

    offset: float
    spread: float


@dataclass(frozen=True)
class Size:
    """What a coarse affine fit would stretch.

    Attributes:
        stretch: largest and smallest factor by which the moving head is larger (above 1) or smaller
            than the fixed one.
        gain: in mutual information, as a share of the rigid result's, over the fixed head or where
            both see the moving volume, whichever is less. It may be negative: the fit sees the
            volumes smoothed.
        nearest: the rigid transform that comes nearest to that fit.
    """

    stretch: tuple[float, float]
    gain: float
    nearest: Any

    @property
    def is_suspect(self) -> bool:
        """Whether the two sizes differ more than two scans of one head do."""
        return suspect_stretch(self.stretch, self.gain)


def suspect_stretch(stretch: tuple[float, float], gain: float) -> bool:
    """Return whether a fit wants more than 4 percent in any axis, and not by chance."""
    return gain > _GAIN and max(abs(s - 1) for s in stretch) > _STRETCH


def sharpness(fixed: WorkingImage, score: JointHistogram, transform: Any) -> float:
    """Return the mean share of mutual information that is lost a little aside.

    Args:
        fixed: the prepared fixed volume.
        score: of the pair.
        transform: linear, fixed to moving.
    """
    here = score(transform)
    if here <= 0:
        return 0.0
    matrix = transform_matrix(transform)
    shifts = np.concatenate([np.eye(3), -np.eye(3)])
    lost = []
    for shift in shifts:
        for turned in (False, True):
            aside = np.eye(4)
            if turned:
                aside[:3, :3] = Rotation.from_rotvec(1.5 * _ASIDE * shift).as_matrix()
                aside[:3, 3] = fixed.center - aside[:3, :3] @ fixed.center
            else:
                aside[:3, 3] = _ASIDE * fixed.radius * shift
            lost.append(1 - score(linear(matrix @ aside)) / here)
    return float(np.mean(lost))


def wanted_size(
    fixed: WorkingImage, moving: WorkingImage, score: JointHistogram, rigid: Any
) -> Size:
    """Look what a coarse affine fit would stretch.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        score: of the pair.
        rigid: the rigid result, fixed to moving.
    """
    few = fixed.radius < _FEW * 2 * fixed.spacing
    affine = optimize_affine(fixed, moving, rigid, _AFFINE_OF_FEW if few else _AFFINE)
    before, after = score(rigid), score(affine)
    seen_before, seen_after = score.side_by_side(rigid, affine)
    turn = transform_matrix(rigid)[:3, :3]
    stretches = np.linalg.svd(transform_matrix(affine)[:3, :3] @ turn.T, compute_uv=False)
    positive = min(before, seen_before) > 0
    gain = min(after / before, seen_after / seen_before) - 1 if positive else 0.0
    places = [np.array(affine.TransformPoint(p)) for p in fixed.corners.tolist()]
    nearest = linear(nearest_rigid(fixed.corners, np.array(places)))
    return Size((float(stretches[0]), float(stretches[-1])), float(gain), nearest)


def nearest_rigid(points: Matrix, places: Matrix) -> Matrix:
    """Return the rigid motion that brings points nearest to places in least squares (Kabsch).

    Args:
        points: [N, 3].
        places: [N, 3].

    Returns:
        [4, 4].
    """
    a, b = points.mean(axis=0), places.mean(axis=0)
    u, _, vt = np.linalg.svd((points - a).T @ (places - b))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    motion = np.eye(4)
    motion[:3, :3] = (u @ flip @ vt).T
    motion[:3, 3] = b - motion[:3, :3] @ a
    return motion


def outlines(fixed: WorkingImage, moving: WorkingImage, transform: Any) -> Outlines | None:
    """Compare the surfaces of the two heads.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        transform: fixed to moving.

    Returns:
        None if there is too little of a surface to compare.
    """
    grid, nearest = fixed.coarse, sitk.sitkNearestNeighbor
    head = _array(sitk.Resample(fixed.head, grid, sitk.Transform(), nearest, 0)) > 0
    # 0: beyond the moving field of view, 1: air there, 2: head
    labels = _array(sitk.Resample(moving.head + 1, grid, transform, nearest, 0))
    other = labels == 2
    surface = other & ndimage.binary_dilation(labels == 1)
    if np.count_nonzero(surface) < _FEWEST or not head.any() or head.all():
        return None
    spacing = grid.GetSpacing()[::-1]
    depth = ndimage.distance_transform_edt(head, spacing)
    height = ndimage.distance_transform_edt(~head, spacing)
    low, middle, high = np.percentile((height - depth)[surface], [10, 50, 90])
    return Outlines(float(middle), float(high - low) / 2)


def _array(image: Any) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = sitk.GetArrayFromImage(image)
    return found
