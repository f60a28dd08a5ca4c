"""Brain, skull, scalp and face as fractions of tissue.

The brain is the ICBM 152 2009a template that nilearn carries (skull-stripped T1, probability maps
of gray and white matter; Fonov et al., NeuroImage 54, 2011), warped a little for every seed. What
the template lacks is laid around it by distance. With the brain B and the Euclidean distance,

    I = closing of B by a ball of 14 mm,      d(p) = signed distance to I, smoothed,
    skull = { g < d <= g + b(p) },            g = 2.5 mm of subarachnoid space, b about 6.5 mm,
    D(x, y, z) = min over z' >= z of d(x, y, z'),
    head = { D <= g + b(p) + s(p) },          s about 7 mm of scalp, more over the temples.

D is the shadow that the head casts downwards; between it and the skull base lies the soft tissue of
face and neck, with two eyes in it. Every boundary is a ramp one voxel wide, so that the fractions
stay between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from monai_ddfm.apps.demo.fields import Array, Matrix, ramp, signed_distance, smooth_field
from monai_ddfm.errors import InputError
from monai_ddfm.version import install_command

__all__ = ["TISSUES", "brain_distance", "head_tissues", "warped_template"]

TISSUES = ("gray", "white", "csf", "compact", "diploe", "fat", "soft")

_COARSE_MM = 2.0
_CLOSING_MM = 14.0
_GAP_MM = 2.5
_TABLE_MM = 1.8
_SKIN_MM = 1.8
_EYES = ((-33.0, 57.0, -35.0), (33.0, 57.0, -35.0))
_GLOBE_MM = 12.0
_ORBIT_MM = 18.0
_SLAB = 24


def _load_template() -> tuple[dict[str, Array], Matrix]:
    try:
        from nilearn import datasets  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "the demo subject is built from the template in nilearn, which is not installed: "
            f"run `{install_command('demo')}`"
        ) from error
    images = {
        "t1": datasets.load_mni152_template(resolution=1),
        "gray": datasets.load_mni152_gm_template(resolution=1),
        "white": datasets.load_mni152_wm_template(resolution=1),
    }
    maps = {name: np.asarray(image.dataobj, dtype=np.float32) for name, image in images.items()}
    return maps, np.asarray(images["t1"].affine, dtype=np.float64)


def warped_template(rng: np.random.Generator, axes: Sequence[Matrix]) -> dict[str, Array]:
    """Sample the template where the seed's warp (a few per cent and some 2 mm) sends every voxel.

    Args:
        rng: source of the warp.
        axes: RAS coordinates in mm of the grid's voxels, one array for each axis.

    Returns:
        ``t1``, ``gray`` and ``white`` [X, Y, Z] float32 in 0..1.

    Raises:
        InputError: nilearn is not installed.
    """
    maps, affine = _load_template()
    shape = tuple(len(axis) for axis in axes)
    # The template is larger than most heads: shrink it by 1 to 6 %.
    stretch = rng.uniform(1.01, 1.06, 3)
    shift = [2.0 * smooth_field(rng, shape, 7) for _ in range(3)]
    # The template's affine is diagonal: index = (position - origin) / spacing, axis by axis.
    straight = [(stretch[k] * axes[k] - affine[k, 3]) / affine[k, k] for k in range(3)]
    warped = {name: np.empty(shape, dtype=np.float32) for name in maps}
    for part in (slice(i, i + _SLAB) for i in range(0, shape[0], _SLAB)):
        grid = np.meshgrid(straight[0][part], straight[1], straight[2], indexing="ij", copy=False)
        index = np.stack([g + s[part] for g, s in zip(grid, shift, strict=True)])
        for name, image in maps.items():
            ndimage.map_coordinates(image, index, warped[name][part], order=1)
    return warped


def brain_distance(t1: Array, voxel: float) -> Array:
    """Return the signed distance to the closed brain; computed at 2 mm and smoothed.

    Args:
        t1: skull-stripped intensity [X, Y, Z], 0 outside the brain.
        voxel: edge of a voxel in mm.

    Returns:
        [X, Y, Z] float32, mm, positive outside.
    """
    step = max(_COARSE_MM, voxel)
    factor = step / voxel
    coarse = tuple(int(np.ceil(n / factor)) + 1 for n in t1.shape)
    brain = ndimage.affine_transform(
        t1, np.full(3, factor), output_shape=coarse, order=1, mode="nearest"
    )
    # The brain stem leaves the box below: continue it, or the skull would close across it.
    pad = int(np.ceil(2 * _CLOSING_MM / step))
    mask = np.pad(brain > 0.1, ((pad, pad), (pad, pad), (pad, 0)), mode="edge")
    grown = signed_distance(mask, step) < _CLOSING_MM
    closed = signed_distance(grown, step) < -_CLOSING_MM
    distance = ndimage.gaussian_filter(signed_distance(closed, step), 3.0 / step)
    fine = ndimage.affine_transform(
        distance[pad:-pad, pad:-pad, pad:],
        np.full(3, 1 / factor),
        output_shape=t1.shape,
        order=1,
        mode="nearest",
    )
    return np.asarray(fine, dtype=np.float32)


def head_tissues(
    rng: np.random.Generator,
    maps: Mapping[str, Array],
    distance: Array,
    axes: Sequence[Matrix],
    voxel: float,
) -> dict[str, Array]:
    """Lay cerebrospinal fluid, skull, scalp and face around the brain.

    Args:
        rng: source of the thickness of skull and scalp.
        maps: ``gray`` and ``white`` of the brain [X, Y, Z].
        distance: what `brain_distance` returns.
        axes: RAS coordinates in mm of the grid's voxels, one array for each axis.
        voxel: edge of a voxel in mm.

    Returns:
        The fraction of each of `TISSUES` [X, Y, Z] in 0..1, adding up to at most 1.
    """
    shape = distance.shape
    fields = {"bone": smooth_field(rng, shape, 5), "fat": smooth_field(rng, shape, 5)}
    fields["deep"] = smooth_field(rng, shape, 20)
    tissues = {name: np.empty(shape, dtype=np.float32) for name in TISSUES}
    for part in (slice(i, i + _SLAB) for i in range(0, shape[0], _SLAB)):
        where = (axes[0][part, None, None], axes[1][None, :, None], axes[2][None, None, :])
        brain = {name: maps[name][part] for name in ("gray", "white")}
        thick = {name: field[part] for name, field in fields.items()}
        slab = _slab(brain, distance[part], where, thick, voxel)
        for name in TISSUES:
            tissues[name][part] = slab[name]
    return tissues


def _slab(
    brain: Mapping[str, Array],
    d: Array,
    where: tuple[Matrix, Matrix, Matrix],
    fields: Mapping[str, Array],
    voxel: float,
) -> dict[str, Array]:
    x, y, z = where
    temple = np.exp(
        -(((np.abs(x) - 72) / 22) ** 2) - ((y - 18) / 28) ** 2 - ((z + 14) / 24) ** 2
    ).astype(np.float32)
    bone_mm = np.clip(6.5 + fields["bone"] - 2.0 * temple, 4.0, 9.5)
    fat_mm = np.clip(4.0 + 0.8 * fields["fat"], 2.0, 7.0)
    muscle_mm = 0.8 + 7.0 * temple

    cavity = ramp(d - _GAP_MM, voxel)
    scale = cavity / np.maximum(brain["gray"] + brain["white"], 1.0)
    out = {name: brain[name] * scale for name in ("gray", "white")}
    out["csf"] = np.maximum(cavity - out["gray"] - out["white"], 0)

    skull = ramp(d - _GAP_MM - bone_mm, voxel)
    diploe = ramp(d - _GAP_MM - bone_mm + _TABLE_MM, voxel) - ramp(d - _GAP_MM - _TABLE_MM, voxel)
    out["diploe"] = np.maximum(diploe, 0)
    out["compact"] = np.maximum(skull - cavity - out["diploe"], 0)

    # The shadow downwards: a running minimum from the top of the box.
    shadow = np.minimum.accumulate(d[:, :, ::-1], axis=2)[:, :, ::-1]
    shadow = shadow - _GAP_MM - bone_mm - muscle_mm
    under_fat = ramp(shadow, voxel)
    head = ramp(shadow - fat_mm - _SKIN_MM, voxel)
    fat = np.maximum(ramp(shadow - fat_mm, voxel) - under_fat, 0)
    # Some fat between the muscles of face and neck, and all around the eyes.
    fat += under_fat * np.clip(0.8 * fields["deep"] - 0.5, 0, 0.8)
    eyes = [
        np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2, dtype=np.float32) for a, b, c in _EYES
    ]
    radius = np.minimum(eyes[0], eyes[1])
    fat = np.maximum(fat, ramp(radius - _ORBIT_MM, voxel) * under_fat)

    room = np.maximum(head - skull, 0)
    globe = np.minimum(ramp(radius - _GLOBE_MM, voxel), room)
    vitreous = np.minimum(ramp(radius - _GLOBE_MM + 1.2, voxel), globe)
    out["csf"] += vitreous
    out["fat"] = np.clip(fat, 0, room - globe)
    out["soft"] = np.maximum(room - vitreous - out["fat"], 0)
    return out
