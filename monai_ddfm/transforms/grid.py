r"""The grid a case is worked on: canonical axes, isotropic spacing if wished, and the way back.

`ToCanonicald` brings a volume into canonical axes by swapping and flipping alone, so that nothing
is interpolated:

* right, anterior, superior ("RAS") as a rule, so that the last axis runs through axial slices;
* for thick slices in another plane, the canonical axes in an order that puts the axis of the slices
  last ("ASR" for sagittal, "RSA" for coronal), so that each slice is a whole acquired picture.

`ChooseGridd` resamples to cubes if asked to. `RestoreGridd` undoes both for whatever has been made
on that grid. With :math:`A` the affine (voxel to mm) of the working grid and :math:`A_0` that of
the volume as loaded, the voxel :math:`v_0` of the original grid is looked up at

.. math::

    v = A^{-1} A_0\, v_0 .

Where :math:`A^{-1} A_0` swaps and flips axes onto the same voxels, values are moved, not computed,
and the way there and back is exact to the bit; otherwise they are interpolated linearly.

`ToCanonicald` and `ChooseGridd` are invertible as MONAI's own transforms are, with `Invertd` and
`Compose.inverse`; `RestoreGridd` does both at once, and needs no record of what came between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Orientation, SpatialResample
from numpy.typing import NDArray

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.grid_geometry import (
    SliceAlong,
    affine_of,
    canonical_codes,
    isotropic_grid,
    reordered,
    reordering,
    slice_axis_of,
    spacing_of,
)

__all__ = [
    "ChooseGridD",
    "ChooseGridDict",
    "ChooseGridd",
    "RestoreGridD",
    "RestoreGridDict",
    "RestoreGridd",
    "SliceAlong",
    "ToCanonicalD",
    "ToCanonicalDict",
    "ToCanonicald",
    "canonical_codes",
    "slice_axis_of",
    "spacing_of",
]

_KEY = "ddfm_original_grid"
_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


class ToCanonicald(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Bring volumes into canonical axes with MONAI's `Orientation`, and remember the grid they had.

    The voxels are only reordered. The first volume of `keys` decides on the order of the axes, see
    `canonical_codes`; the others follow.

    Args:
        keys: volumes [C, H, W, D] with an affine in RAS mm.
        slice_along: plane of the slices that are to be last: "axial", "coronal", "sagittal", or
            "auto" for axial slices unless the volume is made of thick ones in another plane.
        allow_missing_keys: whether a case may lack some of the keys.

    Raises:
        InputError: `slice_along` is not one of these.
    """

    def __init__(
        self,
        keys: KeysCollection = "fixed",
        slice_along: SliceAlong = "auto",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if slice_along not in get_args(SliceAlong):
            raise InputError(
                f"slice_along {slice_along!r} is unknown: use {', '.join(get_args(SliceAlong))}"
            )
        self.slice_along: SliceAlong = slice_along

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Reorient the volumes.

        Args:
            data: the case.

        Returns:
            The case with reoriented volumes.
        """
        case = dict(data)
        codes = None
        for key in self.key_iterator(case):
            volume = case[key]
            codes = codes or canonical_codes(volume.affine, slice_along=self.slice_along)
            orientation = Orientation(axcodes=codes, labels=_LABELS)
            with orientation.trace_transform(False):
                turned = _remembering(volume, orientation(volume))
            self.push_transform(turned, extra_info=_grid_of(volume))
            case[key] = turned
        return case

    def inverse(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Bring the volumes back into the axes they had.

        Args:
            data: the case; what has been made of a volume may have other channels and another
                type, but is to have its grid.

        Returns:
            The case, its `keys` with the shape and, to the last digit, the affine from before.

        Raises:
            ValueError: a volume is on another grid than this transform has left it on.
        """
        case = dict(data)
        for key in self.key_iterator(case):
            grid = self.pop_transform(case[key])["extra_info"]
            if not _is_reordered(case[key], grid):
                raise ValueError(f"{key!r} is no longer on the grid that ToCanonicald has made")
            case[key] = _brought_back(case[key], grid)
        return case


class ChooseGridd(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Resample volumes to cubes of `spacing` mm, or leave them on their own grid.

    Args:
        keys: volumes [C, H, W, D].
        spacing: edge of the cubes in mm; None (default) or 0 keeps the volume as it is.
        allow_missing_keys: whether a case may lack some of the keys.

    Raises:
        InputError: a negative spacing, or (when called) one that would make more than 2**30 voxels.
    """

    def __init__(
        self,
        keys: KeysCollection = "fixed",
        spacing: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if spacing is not None and not 0 <= spacing < np.inf:
            raise InputError(f"spacing {spacing} is not a length in mm: use 1.0, for example")
        self.spacing = spacing

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Resample the volumes with MONAI's `SpatialResample`, linearly.

        Args:
            data: the case.

        Returns:
            The case with isotropic volumes over the same field of view.
        """
        case = dict(data)
        if not self.spacing:
            return case
        for key in self.key_iterator(case):
            volume = case[key]
            affine, size = isotropic_grid(volume.affine, volume.shape[1:], spacing=self.spacing)
            cubes = _remembering(volume, _resampled(volume, affine, size))
            self.push_transform(cubes, extra_info=_grid_of(volume))
            case[key] = cubes
        return case

    def inverse(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Bring the volumes back onto the grid that they had, linearly.

        Args:
            data: the case.

        Returns:
            The case, its `keys` with the shape and the affine from before.
        """
        case = dict(data)
        if not self.spacing:
            return case
        for key in self.key_iterator(case):
            case[key] = _brought_back(case[key], self.pop_transform(case[key])["extra_info"])
        return case


class RestoreGridd(MapTransform):  # type: ignore[misc]
    """Bring results back onto the grid that the reference volume was loaded with.

    Args:
        keys: results on the working grid, [C, H, W, D], tensors or MetaTensors; those that are not
            MetaTensors take the metadata of the reference.
        reference_key: a volume on the working grid that has been through `ToCanonicald`; it may be
            one of `keys`.
        allow_missing_keys: whether a case may lack some of the keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        reference_key: str = "fixed",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference_key = reference_key

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Restore the grid.

        Args:
            data: the case.

        Returns:
            The case, its `keys` with the shape and, to the last digit, the affine of the volume as
            it was loaded.

        Raises:
            ValueError: the reference has never been through `ToCanonicald`, or a result is not on
                its grid.
        """
        case = dict(data)
        reference = case[self.reference_key]
        if _KEY not in reference.meta:
            raise ValueError(f"{self.reference_key!r} has not been through ToCanonicald")
        grid = json.loads(reference.meta[_KEY])
        target = np.array(grid["affine"])
        working = affine_of(reference)
        for key in self.key_iterator(case):
            values = case[key]
            if tuple(values.shape[1:]) != tuple(reference.shape[1:]):
                raise ValueError(f"{key!r} is not on the grid of {self.reference_key!r}")
            case[key] = _restored(values, reference, working, target, grid["shape"])
        return case


def _remembering(before: MetaTensor, after: MetaTensor) -> MetaTensor:
    """Note the grid of `before` in `after`, unless an older one is noted already."""
    after.meta[_KEY] = before.meta.get(_KEY, json.dumps(_grid_of(before)))
    return after


def _grid_of(volume: MetaTensor) -> dict[str, Any]:
    """Affine and shape, in the words of JSON."""
    return {"affine": affine_of(volume).tolist(), "shape": list(volume.shape[1:])}


def _is_reordered(volume: MetaTensor, grid: Mapping[str, Any]) -> bool:
    """Whether swaps and flips alone lead from a volume's grid to another."""
    target = np.array(grid["affine"])
    return reordering(volume.shape[1:], affine_of(volume), target, grid["shape"]) is not None


def _brought_back(volume: MetaTensor, grid: Mapping[str, Any]) -> MetaTensor:
    """Put a volume on the grid that a transform has noted, with the history from before it."""
    target = np.array(grid["affine"])
    back = _restored(volume, volume, affine_of(volume), target, grid["shape"])
    back.applied_operations = volume.applied_operations
    note = volume.meta.get(_KEY)
    if note is not None and json.loads(note) != grid:
        back.meta[_KEY] = note  # an earlier transform has noted another one
    return back


def _resampled(
    volume: MetaTensor, affine: NDArray[np.float64], size: tuple[int, ...]
) -> MetaTensor:
    resample = SpatialResample(mode="bilinear", padding_mode="border", align_corners=True)
    with resample.trace_transform(False):
        return resample(volume, dst_affine=torch.from_numpy(affine), spatial_size=size)


def _restored(
    values: torch.Tensor,
    reference: MetaTensor,
    working: NDArray[np.float64],
    target: NDArray[np.float64],
    shape: list[int],
) -> MetaTensor:
    source = values if isinstance(values, MetaTensor) else reference
    meta = {key: value for key, value in source.meta.items() if key not in (_KEY, "affine")}
    plain = values.as_tensor() if isinstance(values, MetaTensor) else values
    moved = reordered(plain, working, target, shape)
    if moved is None:
        placed = MetaTensor(plain, affine=torch.from_numpy(working))
        resampled = _resampled(placed, target, tuple(shape)).as_tensor()
        moved = resampled.to(plain.dtype).contiguous()
    return MetaTensor(moved, affine=torch.from_numpy(target), meta=meta)


ToCanonicalD = ToCanonicalDict = ToCanonicald
ChooseGridD = ChooseGridDict = ChooseGridd
RestoreGridD = RestoreGridDict = RestoreGridd
