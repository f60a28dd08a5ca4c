r"""Local searches: from a given transform to the nearest maximum of mutual information.

A rigid search begins not at the given transform :math:`T_0` but at the identity, with the moving
volume's grid put to where :math:`T_0^{-1}` sends it; no voxel is touched by that. So the versor
that is searched for stays small. Near a half turn its derivatives have a pole, and nothing moves.

Everything runs in one thread and with sampling from a fixed seed: ITK adds up the contributions of
several threads in the order in which they finish, which changes the last bits from run to run.

References:
    D. Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE
    Transactions on Medical Imaging 22(1), 2003.
    D. Rueckert et al., "Nonrigid registration using free-form deformations", IEEE Transactions on
    Medical Imaging 18(8), 1999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_ddfm.data.transform_files import as_affine, transform_matrix
from monai_ddfm.transforms.similarity import WorkingImage

__all__ = [
    "COARSE",
    "FINE",
    "NEAR",
    "QUICK",
    "Optimizer",
    "distance",
    "linear",
    "optimize",
    "optimize_affine",
    "optimize_deformable",
    "turn_between",
]

_SEED = 20230811
_BINS = 32
_DEFORMABLE_SAMPLES = 8000
_DEFORMABLE_STEPS = 40

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Optimizer:
    """How to search.

    Attributes:
        coarse: on the coarse grids or on the fine ones.
        share: of the grid's voxels in the region that are compared.
        step: the first step in voxels of the grid.
        last: the step at which it ends.
        relaxation: by which a step is shortened at each change of direction.
        steps: at most so many.
        blur: width of a smoothing before, in voxels of the grid.
        gradient: whether gradients come from a smoothed gradient image or from differences.
    """

    coarse: bool
    share: float
    step: float = 1.0
    last: float = 0.02
    relaxation: float = 0.85
    steps: int = 100
    blur: float = 0.0
    gradient: bool = True


COARSE = Optimizer(coarse=True, share=0.5)
NEAR = Optimizer(coarse=True, share=0.2, last=0.05)
# Differences again, with a tenth of the voxels: as near to the truth as a third with gradients.
FINE = Optimizer(coarse=False, share=0.1, step=0.5, last=0.04, gradient=False)
# Finds the hill, not its top: a tenth of the time.
QUICK = Optimizer(
    coarse=True, share=0.05, step=1.5, last=0.1, relaxation=0.7, steps=30, gradient=False
)


def optimize(fixed: WorkingImage, moving: WorkingImage, first: Any, how: Optimizer) -> Any:
    """Optimizer rigidly from the rigid transform `first`.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        first: fixed to moving.
        how: grid, samples and steps.

    Returns:
        An affine transform about the origin; `first` if the volumes do not meet there.
    """
    start = as_affine(first)
    versor = sitk.VersorRigid3DTransform()
    versor.SetCenter(fixed.center.tolist())
    image = _put(moving.coarse if how.coarse else moving.fine, transform_matrix(start))
    if not _execute(fixed, image, versor, how):
        return start
    return linear(transform_matrix(start) @ transform_matrix(as_affine(versor)))


def optimize_affine(fixed: WorkingImage, moving: WorkingImage, first: Any, how: Optimizer) -> Any:
    """Optimize twelve parameters from the linear transform `first`; otherwise as `optimize`."""
    affine = sitk.AffineTransform(3)
    center = fixed.center
    affine.SetCenter(center.tolist())
    affine.SetMatrix(first.GetMatrix())
    affine.SetTranslation((np.array(first.TransformPoint(center.tolist())) - center).tolist())
    image = moving.coarse if how.coarse else moving.fine
    return as_affine(affine if _execute(fixed, image, affine, how) else first)


def optimize_deformable(
    fixed: WorkingImage, moving: WorkingImage, first: Any, control_spacing: float
) -> Any:
    """Add a cubic B-spline, with so many mm between control points, that acts before `first`."""
    sides = np.array(fixed.fine.GetSize()) * np.array(fixed.fine.GetSpacing())
    mesh = np.maximum(1, np.round(sides / control_spacing)).astype(int).tolist()
    spline = sitk.BSplineTransformInitializer(fixed.fine, mesh, 3)
    inside = max(1, int(np.count_nonzero(sitk.GetArrayViewFromImage(fixed.region))))
    method = _method(fixed, Optimizer(coarse=False, share=min(1.0, _DEFORMABLE_SAMPLES / inside)))
    unit = fixed.spacing
    method.SetOptimizerAsRegularStepGradientDescent(
        1.6 * unit, 0.04 * unit, _DEFORMABLE_STEPS, 0.85, 1e-6
    )
    method.SetInitialTransform(spline, True)
    method.SetMovingInitialTransform(first)
    try:
        method.Execute(fixed.fine, moving.fine)
    except RuntimeError:  # as in `_execute`
        return first
    return sitk.CompositeTransform([first, spline])


def distance(fixed: WorkingImage, one: Any, other: Any) -> float:
    """Return the mean distance in mm between two transforms at the corners of the head."""
    corners = fixed.corners.tolist()
    a, b = (np.array([t.TransformPoint(p) for p in corners]) for t in (one, other))
    return float(np.linalg.norm(a - b, axis=1).mean())


def turn_between(one: Any, other: Any) -> float:
    """Return the angle in degrees between the rotations of two linear transforms."""
    turns = []
    for transform in (one, other):
        u, _, vt = np.linalg.svd(transform_matrix(transform)[:3, :3])
        turns.append(u @ vt)
    cosine = (np.trace(turns[0].T @ turns[1]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def linear(matrix: Matrix) -> Any:
    """Return the affine transform about the origin of a [4, 4] matrix, LPS mm."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.ascontiguousarray(matrix[:3, :3]).ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def _put(image: Any, matrix: Matrix) -> Any:
    """Return `image` with its grid moved by the inverse of a rigid motion; voxels are shared."""
    moved = sitk.Image(image)
    turn = matrix[:3, :3]
    back = turn.T @ np.reshape(image.GetDirection(), (3, 3))
    moved.SetDirection(back.ravel().tolist())
    moved.SetOrigin((turn.T @ (np.array(image.GetOrigin()) - matrix[:3, 3])).tolist())
    return moved


def _execute(fixed: WorkingImage, moving: Any, transform: Any, how: Optimizer) -> bool:
    """Change `transform` in place; False if all samples map outside the moving image."""
    unit = fixed.spacing * (2 if how.coarse else 1)
    method = _method(fixed, how)
    method.SetOptimizerAsRegularStepGradientDescent(
        how.step * unit, how.last * unit, how.steps, how.relaxation, 1e-6
    )
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([how.blur * unit])
    # Scaled so, a step moves the head's rim as far by turning (or stretching) as by shifting.
    turning = len(transform.GetParameters()) - 3
    method.SetOptimizerScales([fixed.radius**2] * turning + [1.0] * 3)
    method.SetInitialTransform(transform, True)
    try:
        method.Execute(fixed.coarse if how.coarse else fixed.fine, moving)
    except RuntimeError:
        return False
    return True


def _method(fixed: WorkingImage, how: Optimizer) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(how.share, _SEED)
    method.SetMetricFixedMask(fixed.coarse_region if how.coarse else fixed.region)
    method.SetMetricUseFixedImageGradientFilter(False)  # Mattes' metric does not ask for it
    method.SetMetricUseMovingImageGradientFilter(how.gradient)
    method.SetInterpolator(sitk.sitkLinear)
    return method
