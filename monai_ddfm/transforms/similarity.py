r"""Working copies of volumes for registration, and the mutual information of two of them.

For the normalized joint histogram :math:`p(a, b)` of fixed and moving gray values, with marginals
:math:`p(a)` and :math:`p(b)`,

.. math::

    I = \sum_{a,b} p(a,b) \log \frac{p(a,b)}{p(a)\,p(b)} - \frac{m_{ab} - m_a - m_b + 1}{2N},
    \qquad
    d = \frac{I}{\min(H_a, H_b)}, \quad H = -\sum p \log p .

The second term of I is Miller's correction for N samples in m occupied bins, so that unrelated
volumes come out near zero. d, in [0, 1], is the share of the simpler volume that the other
one predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from monai_ddfm.transforms.body_outline import Region
from monai_ddfm.transforms.histogram import outline_mask

__all__ = ["JointHistogram", "WorkingImage", "entropy", "working_image", "working_spacing"]

_VOXELS_ACROSS = 96
_MOST_VOXELS = 2**25
_MARGIN = 5  # working voxels of surroundings that belong to the region around the head


@dataclass(frozen=True)
class WorkingImage:
    """A volume as the registration sees it.

    Attributes:
        fine: gray values on an isotropic grid of `spacing` mm, cut to robust percentiles.
        coarse: the same at twice the spacing.
        head: mask (uint8) of the head, or of the body, on the grid of `fine`; "head" in what
            follows is either.
        region: `head` with a margin: where the metric is evaluated.
        coarse_region: the same on the grid of `coarse`.
        spacing: mm.
        background: the gray value with which the volume is continued beyond its field of view.
        center: center of the head, LPS mm.
        corners: the eight corners of the box around the head, [8, 3], LPS mm.
        radius: root mean square distance of the head's voxels from that center, mm.
        shows: "head" or "body".
    """

    fine: Any
    coarse: Any
    head: Any
    region: Any
    coarse_region: Any
    spacing: float
    background: float
    center: NDArray[np.float64]
    corners: NDArray[np.float64]
    radius: float
    shows: Region = "head"


def working_spacing(fixed: Any, moving: Any | None = None) -> float:
    """Return the spacing of the working grid in mm: 1/96 of the longest side of `fixed`.

    But not less than half its finest spacing, so that small pictures stay small; and not so little
    that `moving` would fill the memory, as beside a fixed volume whose voxel sizes are in cm.
    """
    spacing = np.array(fixed.GetSpacing())
    sides = np.array(fixed.GetSize()) * spacing
    wanted = max(sides.max() / _VOXELS_ACROSS, spacing.min() / 2)
    if moving is not None:
        content = np.prod(np.array(moving.GetSize()) * moving.GetSpacing())
        wanted = max(wanted, (content / _MOST_VOXELS) ** (1 / 3))
    return float(wanted)


def working_image(image: Any, *, spacing: float, region: Region = "head") -> WorkingImage:
    """Prepare a volume for registration.

    Args:
        image: scalar `SimpleITK.Image` of float32, any units.
        spacing: mm of the isotropic working grid.
        region: what the volume shows.

    Returns:
        The working copies.
    """
    fine = _isotropic(image, spacing)
    values = sitk.GetArrayViewFromImage(fine)
    low, high = np.percentile(values, [0.5, 99.8])
    if not low < high:
        low, high = values.min(), values.max()
    fine = sitk.Clamp(fine, sitk.sitkFloat32, float(low), float(high))
    values = sitk.GetArrayFromImage(fine).astype(np.float64).transpose(2, 1, 0)
    head = outline_mask(values, region)
    around = _mask_image(ndimage.binary_dilation(head, iterations=_MARGIN), fine)
    coarse = _isotropic(fine, 2 * spacing)
    index = np.argwhere(head)
    box = [index.min(axis=0) - 0.5, index.max(axis=0) + 0.5]
    corners = [[box[end][axis] for axis, end in enumerate(ends)] for ends in np.ndindex(2, 2, 2)]
    place = fine.TransformContinuousIndexToPhysicalPoint
    return WorkingImage(
        fine=fine,
        coarse=coarse,
        head=_mask_image(head, fine),
        region=around,
        coarse_region=sitk.Resample(around, coarse, sitk.Transform(), sitk.sitkNearestNeighbor, 0),
        spacing=spacing,
        background=float(low),
        center=np.array(place(index.mean(axis=0).tolist())),
        corners=np.array([place(corner) for corner in corners]),
        radius=float(np.sqrt((index.var(axis=0) * np.square(fine.GetSpacing())).sum())),
        shows=region,
    )


class JointHistogram:
    """Mutual information of two volumes as a function of the transform between them.

    Args:
        fixed: its coarse grid, within its region, is where values are compared.
        moving: continued by its background beyond its field of view.
        bins: gray levels per volume, equally spaced.
    """

    def __init__(self, fixed: WorkingImage, moving: WorkingImage, *, bins: int = 32) -> None:
        self.bins = bins
        self.moving = moving
        self.grid = fixed.coarse
        self.inside = sitk.GetArrayFromImage(fixed.coarse_region) > 0
        self.fixed_bins = self._binned(sitk.GetArrayFromImage(fixed.coarse)[self.inside])
        values = sitk.GetArrayViewFromImage(moving.coarse)
        self.range = float(values.min()), float(values.max())

    def __call__(self, transform: Any) -> float:
        """Return the mutual information in nats.

        Args:
            transform: maps points of fixed to points of moving.
        """
        return self._statistics(transform)[0]

    def side_by_side(self, one: Any, other: Any) -> tuple[float, float]:
        """Return the mutual information of two transforms where both see the moving volume.

        What lies beyond its field of view is left out, of both: else the one that covers more of
        the fixed head would be ahead, whatever fits.

        Args:
            one: maps points of fixed to points of moving.
            other: likewise.
        """
        seen = self._sees(one) & self._sees(other)
        return self._statistics(one, seen)[0], self._statistics(other, seen)[0]

    def dependence(self, transform: Any) -> float:
        """Return the mutual information as a share of the smaller entropy, about 0 to 1.

        Args:
            transform: maps points of fixed to points of moving.
        """
        information, smaller = self._statistics(transform)
        return information / smaller if smaller > 0 else 0.0

    def _sees(self, transform: Any) -> NDArray[np.bool_]:
        """Return where in the region the moving field of view lies, [N]."""
        view = sitk.Image(self.moving.coarse.GetSize(), sitk.sitkUInt8) + 1
        view.CopyInformation(self.moving.coarse)
        seen = sitk.Resample(view, self.grid, transform, sitk.sitkNearestNeighbor, 0)
        return np.asarray(sitk.GetArrayViewFromImage(seen)[self.inside] > 0)

    def _statistics(
        self, transform: Any, within: NDArray[np.bool_] | slice = slice(None)
    ) -> tuple[float, float]:
        moved = sitk.Resample(
            self.moving.coarse, self.grid, transform, sitk.sitkLinear, self.moving.background
        )
        values = sitk.GetArrayViewFromImage(moved)[self.inside][within]
        joint = np.bincount(
            self.fixed_bins[within] * self.bins + self._binned(values, *self.range),
            minlength=self.bins**2,
        ).reshape(self.bins, self.bins)
        n = joint.sum()
        p = joint / n
        pa, pb = p.sum(axis=1), p.sum(axis=0)
        ha, hb, hab = (entropy(x) for x in (pa, pb, p))
        occupied = [np.count_nonzero(x) for x in (p, pa, pb)]
        bias = (occupied[0] - occupied[1] - occupied[2] + 1) / (2 * n)
        return float(ha + hb - hab - bias), float(min(ha, hb))

    def _binned(
        self, values: NDArray[np.float32], low: float | None = None, high: float | None = None
    ) -> NDArray[np.int64]:
        low = float(values.min()) if low is None else low
        high = float(values.max()) if high is None else high
        scale = self.bins / max(high - low, 1e-12)
        levels = np.clip((values - low) * scale, 0, self.bins - 1)
        return np.asarray(levels, dtype=np.int64)


def entropy(p: NDArray[np.float64]) -> float:
    """Return the entropy of a distribution in nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _isotropic(image: Any, spacing: float) -> Any:
    """Smooth and resample to cubes of `spacing` mm over the same field of view.

    Smoothing is against aliasing where voxels get larger. Where they get smaller, it evens out the
    noise, which would otherwise be stronger at the old voxels than between them: mutual information
    would then prefer certain positions and scales of the grids.
    """
    old = np.array(image.GetSpacing())
    for axis, width in enumerate(0.5 * np.maximum(spacing, old)):
        if image.GetSize()[axis] >= 4:  # the filter needs 4 samples
            image = sitk.RecursiveGaussian(image, float(width), direction=axis)
    size = np.maximum(1, np.round(np.array(image.GetSize()) * old / spacing)).astype(int)
    new = np.array(image.GetSize()) * old / size
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(image.GetOrigin()) + direction @ (0.5 * (new - old))
    return sitk.Resample(
        image,
        size.tolist(),
        sitk.Transform(),
        sitk.sitkLinear,
        origin.tolist(),
        new.tolist(),
        image.GetDirection(),
    )


def _mask_image(mask: NDArray[np.bool_], frame: Any) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8))
    image.CopyInformation(frame)
    return image
