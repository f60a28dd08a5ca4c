"""What every demo image is made of: fractions of tissue and lesions on one fine grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monai_ddfm.apps.demo.fields import Array, Matrix, smooth_field
from monai_ddfm.apps.demo.head import brain_distance, head_tissues, warped_template

__all__ = ["Anatomy", "build_anatomy"]

# The box that is modelled, in RAS mm of the template: room for the scalp on every side but below.
_LOWER = (-96.0, -130.0, -72.0)
_UPPER = (96.0, 98.0, 106.0)
# Kind of lesion, tissue that hosts it, radius in mm.
_LESIONS = (("hot", "white", 8.5), ("hot", "white", 5.5), ("cold", "gray", 12.0))
_APART_MM = 35.0


@dataclass(frozen=True)
class Anatomy:
    """Fractions of tissue in every voxel of one head.

    Attributes:
        affine: voxel index to RAS mm, axes along the body's.
        tissues: name to [X, Y, Z] float32 fractions in 0..1; they add up to 1 at most, and what is
            missing is air. Names: gray, white, csf, compact, diploe, fat, soft.
        lesions: name (hot, cold) to [X, Y, Z] float32 masks in 0..1 inside the brain.
        template: warped ICBM T1 intensity, 0..1, which shows more than three classes do.
        voxel: edge of a voxel in mm.
    """

    affine: Matrix
    tissues: dict[str, Array]
    lesions: dict[str, Array]
    template: Array
    voxel: float

    def mix(self, values: Mapping[str, float]) -> Array:
        """Return the image in which each tissue has its value.

        Args:
            values: value of each tissue, of ``air`` (0 where absent) and of the lesions; a lesion
                without a value cannot be seen.

        Returns:
            [X, Y, Z] float32 in the unit of `values`.
        """
        air = values.get("air", 0.0)
        image = np.full(self.template.shape, air, dtype=np.float32)
        for name, fraction in self.tissues.items():
            image += np.float32(values[name] - air) * fraction
        for name, mask in self.lesions.items():
            if name in values:
                image += mask * (np.float32(values[name]) - image)
        return image


def build_anatomy(seed: int, *, voxel: float = 1.0) -> Anatomy:
    """Build the head of one seed.

    Args:
        seed: chooses the warp, the thickness of skull and scalp, and the lesions.
        voxel: edge of a voxel in mm; above 2 mm the skull begins to eat into the brain.

    Returns:
        The anatomy; the same seed gives the same head at every resolution, but for the place of the
        lesions.

    Raises:
        InputError: nilearn, which carries the template, is not installed.
    """
    rng = np.random.default_rng([seed, 0])
    axes = [np.arange(lo, up, voxel) for lo, up in zip(_LOWER, _UPPER, strict=True)]
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = _LOWER
    maps = warped_template(rng, axes)
    tissues = head_tissues(rng, maps, brain_distance(maps["t1"], voxel), axes, voxel)
    lesions = _lesions(rng, tissues, axes, voxel)
    return Anatomy(affine, tissues, lesions, maps["t1"], voxel)


def _lesions(
    rng: np.random.Generator, tissues: Mapping[str, Array], axes: Sequence[Matrix], voxel: float
) -> dict[str, Array]:
    """Place the lesions between the basal ganglia and the vertex, apart from each other."""
    shape = tissues["gray"].shape
    brain = tissues["gray"] + tissues["white"]
    masks = {kind: np.zeros(shape, dtype=np.float32) for kind, _, _ in _LESIONS}
    taken: list[Matrix] = []
    for kind, host, radius in _LESIONS:
        drawn = rng.choice(np.flatnonzero(tissues[host] > 0.85), 512)
        points = np.stack(np.unravel_index(drawn, shape), axis=1) * voxel + np.array(_LOWER)
        keep = (points[:, 2] > 0) & (points[:, 2] < 55)
        for other in taken:
            keep &= np.linalg.norm(points - other, axis=1) > _APART_MM
        center = points[np.argmax(keep)]
        taken.append(center)
        squares = [(axis - c) ** 2 for axis, c in zip(axes, center, strict=True)]
        r = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2], dtype=np.float32)
        r += np.float32(0.15 * radius) * smooth_field(rng, shape, 12)
        blob = np.clip(0.5 - (r - radius) / 2.0, 0, 1) * brain
        masks[kind] = np.maximum(masks[kind], blob)
    return masks
