r"""How far a rigid registration may be off: the covariance of its six parameters.

A small motion :math:`\theta = (\rho, \tau)` before the transform :math:`T` that was found turns the
fixed head by :math:`\rho / r` about its center c, r being the head's radius, and shifts it by
:math:`\tau`; all six are millimeters at the head's rim:

.. math::

    T_\theta(x) = T\left(R(\rho / r)\,(x - c) + c + \tau\right) .

T maximizes the mutual information I of the volumes, the mean over the head's voxels x of

.. math::

    \ell_x(\theta) = \log \frac{p(a_x, b_x(\theta))}{p(a_x)\,p(b_x(\theta))} ,

which is a log likelihood of the gray values b of moving, given those of fixed. So the curvature
:math:`H = -\nabla^2 I` says how well the maximum is determined. If voxels were independent, the
covariance would be :math:`(n H)^{-1}`. They are not: neighbors share blur, noise and whatever makes
the two scanners' images differ. So the spread of the gradient is measured, not assumed. The head
is cut into K cubes, large beside those correlations, and with :math:`g_k` the sum over cube k of
the voxels' gradients :math:`\nabla \ell_x / n`,

.. math::

    \Sigma = H^{-1} \left(\tfrac{K}{K - 1} \sum_k (g_k - \bar g)(g_k - \bar g)^\top\right) H^{-1} .

This is White's covariance with clusters [1, 2]: what the parts of the head would have the motion
be, compared with each other. (That p is estimated, too, changes the gradient to second order only.)
That of independent voxels is added. It is small, but for motions of which the images say next to
nothing: there the parts do not contradict each other, for they have nothing to say.

What is wrong in all parts alike that cannot see. Mutual information knows the gray levels of an
edge, but not which of them is the edge. Where the coarser image shows it w mm wide, the place that
fits best may be aside by a part of that, outwards or inwards on all sides of the head. From left
and right, front and back, that cancels but for a rest; but a head is closed above and goes on
below, so that along the body it does not. So :math:`(\beta w)^2` is added to the variance of the
turns and shifts, and :math:`(\beta_z w)^2` to that of the shift along the body (z in LPS), with
:math:`w^2` the squares of the scanner's resolution and of a voxel of the search. Both shares are
the likeliest of nine registrations of the simulated heads 0 to 2 (CT, PET and SPECT as the demo
makes them), whose motion is known; :math:`\theta^\top \Sigma^{-1} \theta / 6` is then 1.02 on
average of these, and 1.03 of the nine of the heads 3 to 5, on which nothing was chosen. The moving
scan's own voxels in place of w, larger across its slices, fitted worse.

I is bumpy, as grids and bins go past each other, and is looked at from afar: H is that of the
quadratic that comes nearest to I at places some voxels away. What interpolation does to noise still
looks like curvature: a direction of which the images say nothing, as along a tube, passes for
better known than it is.

References:
    [1] H. White, Maximum likelihood estimation of misspecified models, Econometrica 50 (1982).
    [2] K.-Y. Liang, S. L. Zeger, Longitudinal data analysis using generalized linear models,
        Biometrika 73 (1986).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.registration_optimizer import linear
from monai_ddfm.transforms.similarity import WorkingImage, entropy

__all__ = ["RigidUncertainty", "rigid_uncertainty"]

Matrix = NDArray[np.float64]

_BINS: Final = 32
_BIN_BLUR: Final = 1.0  # bins: the window of Parzen's estimate of p
_LOOK: Final = 0.75  # coarse voxels from the maximum, where its curvature is looked at
_STEP: Final = 0.25  # coarse voxels, for the voxels' gradients
_CUBE_MM: Final = 30.0
_FEWEST_CUBES: Final = 12
_ASIDE: Final = (*[0.0185] * 5, 0.048)  # beta of turns and shifts; the last is along the body
_LEAST_CURVATURE: Final = 1e-3  # of the largest: a direction that the images say nothing of


@dataclass(frozen=True)
class RigidUncertainty:
    """Normal distribution of the motions before a transform that might be the true ones.

    Attributes:
        covariance: of three turns and three shifts as above, [6, 6], mm^2.
        center: c, LPS mm.
        radius: r, mm.
    """

    covariance: Matrix
    center: Matrix
    radius: float

    @property
    def mm(self) -> float:
        """Root mean square displacement over the head's voxels."""
        # A turn by rho / r moves a ball's voxels by 2/3 of rho^2 in the mean, r being their r.m.s.
        weights = np.array([2 / 3] * 3 + [1.0] * 3)
        return float(np.sqrt(weights @ np.diag(self.covariance)))

    def motion(self, theta: Matrix) -> Matrix:
        """Return the motion [4, 4] of fixed points for three turns and three shifts, mm."""
        return _motion(theta, self.center, self.radius)

    def drawn(self, generator: np.random.Generator) -> Matrix:
        """Draw a motion [4, 4]; a transform T becomes T after it."""
        # Not `multivariate_normal`, whose factors have signs that depend on the library.
        root = np.linalg.cholesky(self.covariance + 1e-12 * np.eye(6))
        return self.motion(root @ generator.standard_normal(6))

    def described(self) -> dict[str, Any]:
        """Return what goes into the record."""
        deviations = np.sqrt(np.diag(self.covariance))
        return {
            "mm": round(self.mm, 3),
            "turn_deg": [round(float(d), 4) for d in np.degrees(deviations[:3] / self.radius)],
            "shift_mm": [round(float(d), 4) for d in deviations[3:]],
            "covariance": self.covariance.round(6).tolist(),
            "center": self.center.round(3).tolist(),
            "radius": round(self.radius, 3),
        }

    @classmethod
    def of(cls, described: dict[str, Any]) -> RigidUncertainty:
        """Return what `described` has described."""
        return cls(
            np.array(described["covariance"]), np.array(described["center"]), described["radius"]
        )


def rigid_uncertainty(
    fixed: WorkingImage, moving: WorkingImage, transform: Any, *, resolution: float
) -> RigidUncertainty:
    """Measure how well two volumes determine the motion between them.

    Args:
        fixed: the prepared fixed volume.
        moving: the prepared moving volume.
        transform: fixed to moving, where the mutual information is largest; linear.
        resolution: of moving, full width at half maximum in mm.
    """
    pair = _Pair(fixed, moving, transform)
    curvature = _positive(pair.curvature(_LOOK * 2 * fixed.spacing))
    scores = pair.scores(_STEP * 2 * fixed.spacing)
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ scores @ inverse + inverse / np.count_nonzero(pair.inside)
    width = np.hypot(resolution, 2 * fixed.spacing)
    covariance = (covariance + covariance.T) / 2 + np.diag(np.square(_ASIDE) * width**2)
    return RigidUncertainty(covariance, fixed.center, fixed.radius)


class _Pair:
    """Mutual information of two volumes about a transform, whole and voxel by voxel."""

    def __init__(self, fixed: WorkingImage, moving: WorkingImage, transform: Any) -> None:
        self.fixed, self.moving = fixed, moving
        self.matrix = transform_matrix(transform)
        self.inside = sitk.GetArrayViewFromImage(fixed.coarse_region) > 0
        self.levels = _levels(sitk.GetArrayViewFromImage(fixed.coarse)[self.inside])
        values = sitk.GetArrayViewFromImage(moving.coarse)
        self.range = float(values.min()), float(values.max())

    def curvature(self, look: float) -> Matrix:
        """Return H of the nearest quadratic at places so many mm away."""
        ways = [np.zeros(6)]
        for axis in np.eye(6):
            ways += [look * axis, -look * axis]
        for one, other in combinations(np.eye(6), 2):
            ways += [s * look * (one + t * other) / np.sqrt(2) for s in (1, -1) for t in (1, -1)]
        places = np.array(ways)
        heights = [_information(self._joint(self._moved(place))) for place in places]
        rows, columns = np.triu_indices(6)
        design = np.concatenate(
            [
                np.ones((len(places), 1)),
                places,
                places[:, rows] * places[:, columns] * np.where(rows == columns, 0.5, 1.0),
            ],
            axis=1,
        )
        found, *_ = np.linalg.lstsq(design, np.array(heights), rcond=None)
        hessian = np.zeros((6, 6))
        hessian[rows, columns] = hessian[columns, rows] = found[7:]
        return -hessian

    def scores(self, step: float) -> Matrix:
        """Return the covariance of the mean gradient, by cubes of the head."""
        table = np.log(self._density(self._joint(self._moved(np.zeros(6)))))
        table -= np.log(np.exp(table).sum(axis=0, keepdims=True))
        gradients = []
        for axis in np.eye(6):
            ahead, behind = (self._moved(sign * step * axis) for sign in (1, -1))
            rise = self._looked_up(table, ahead) - self._looked_up(table, behind)
            gradients.append(rise / (2 * step))
        cubes = self._cubes()
        sums: Matrix = np.stack([np.bincount(cubes, weights=g) for g in gradients], axis=1)
        sums = sums[np.bincount(cubes) > 0] / np.float64(len(cubes))
        count = len(sums)
        centered = sums - sums.mean(axis=0)
        factor = count / (count - 1) if count > 1 else 1.0
        return np.asarray(factor * centered.T @ centered)

    def _moved(self, theta: Matrix) -> NDArray[np.float64]:
        """Return the levels of moving at the voxels, after a motion."""
        motion = linear(self.matrix @ _motion(theta, self.fixed.center, self.fixed.radius))
        moved = sitk.Resample(
            self.moving.coarse, self.fixed.coarse, motion, sitk.sitkLinear, self.moving.background
        )
        return _levels(sitk.GetArrayViewFromImage(moved)[self.inside], *self.range)

    def _joint(self, moved: NDArray[np.float64]) -> Matrix:
        """Return the joint histogram, [_BINS, _BINS], of fixed and moving; shares of a level."""
        low = np.minimum(moved.astype(np.int64), _BINS - 2)
        share = moved - low
        rows = self.levels.round().astype(np.int64) * _BINS
        joint: Matrix = np.bincount(rows + low, 1 - share, _BINS**2).astype(np.float64)
        joint += np.bincount(rows + low + 1, share, _BINS**2)
        return joint.reshape(_BINS, _BINS)

    def _density(self, joint: Matrix) -> Matrix:
        smooth = ndimage.gaussian_filter(joint, _BIN_BLUR, mode="nearest") + 1e-3
        return np.asarray(smooth / smooth.sum())

    def _looked_up(self, table: Matrix, moved: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the table at the voxels' levels, between those of moving linearly."""
        low = np.minimum(moved.astype(np.int64), _BINS - 2)
        rows = self.levels.round().astype(np.int64)
        share = moved - low
        return np.asarray((1 - share) * table[rows, low] + share * table[rows, low + 1])

    def _cubes(self) -> NDArray[np.int64]:
        """Return the number of the cube that each voxel is in, [n]."""
        spacing = np.array(self.fixed.coarse.GetSpacing())[::-1]
        index = np.argwhere(self.inside)
        extent = np.ptp(index, axis=0) * spacing + 1e-6
        edge = min(_CUBE_MM, float(np.prod(extent) / _FEWEST_CUBES) ** (1 / 3))
        place = ((index - index.min(axis=0)) * spacing // edge).astype(np.int64)
        return np.asarray(np.ravel_multi_index(tuple(place.T), tuple(place.max(axis=0) + 1)))


def _motion(theta: Matrix, center: Matrix, radius: float) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(theta[:3] / radius).as_matrix()
    matrix[:3, 3] = center + theta[3:] - matrix[:3, :3] @ center
    return matrix


def _levels(
    values: NDArray[np.float32], low: float | None = None, high: float | None = None
) -> NDArray[np.float64]:
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    scale = (_BINS - 1) / max(high - low, 1e-12)
    return np.clip((values.astype(np.float64) - low) * scale, 0, _BINS - 1)


def _information(joint: Matrix) -> float:
    p = joint / joint.sum()
    return entropy(p.sum(axis=1)) + entropy(p.sum(axis=0)) - entropy(p)


def _positive(curvature: Matrix) -> Matrix:
    """Return the curvature with no direction flat or bent upwards."""
    values, vectors = np.linalg.eigh(curvature)
    values = np.maximum(values, _LEAST_CURVATURE * max(float(values.max()), 1e-12))
    return np.asarray((vectors * values) @ vectors.T)
