"""The sources beside the fusion: as loaded, or interpolated exactly once; and masks drawn on them.

The pipeline keeps both volumes as they were loaded. `RestoreSourcesd` ends the work on
another grid: the fixed volume comes back untouched, and the moving one is resampled from its own
voxels onto the fixed volume's own grid, with the transform that the registration has found. So no
value is interpolated twice, however many grids lie between. Where the two grids are one but for the
order of their voxels, nothing is resampled again, and `ReleaseSourcesd` lets go of the moving
volume's own voxels early.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from monai_ddfm.data.transform_files import transform_of
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.grid_geometry import affine_of, reordered, reordering
from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.transforms.simpleitk_bridge import resample, volume_name
from monai_ddfm.utils.reports import add_report, reports_of

__all__ = [
    "LoadReferenceMaskD",
    "LoadReferenceMaskDict",
    "LoadReferenceMaskd",
    "ReleaseSourcesD",
    "ReleaseSourcesDict",
    "ReleaseSourcesd",
    "RestoreSourcesD",
    "RestoreSourcesDict",
    "RestoreSourcesd",
]

_SAME_PLACE_MM = 0.1


class RestoreSourcesd(MapTransform):  # type: ignore[misc]
    """Put the sources on the grid that the fixed volume was loaded with, interpolated once at most.

    Args:
        fixed_key: the fixed volume on the working grid; replaced by the one that was loaded.
        moving_key: the moving volume on the working grid, with the report of its registration; or
            several.
        fixed_source_key: the fixed volume as it was loaded; removed from the case.
        moving_source_key: the moving volume as it was loaded, one for each; removed from the case.
            Not looked at, and may be absent, where the grids differ in the order of their voxels
            only.
    """

    def __init__(
        self,
        fixed_key: str = "fixed",
        moving_key: KeysCollection = "moving",
        *,
        fixed_source_key: str = "fixed_source",
        moving_source_key: KeysCollection = "moving_source",
    ) -> None:
        self.moving_keys = ensure_tuple(moving_key)
        super().__init__((fixed_key, *self.moving_keys))
        self.fixed_key = fixed_key
        self.fixed_source_key = fixed_source_key
        self.moving_source_keys = ensure_tuple(moving_source_key)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Restore the sources.

        Args:
            data: the case; the moving volume [C, H, W, D] has been through a registration.

        Returns:
            The case with `fixed_key` to the bit as it was loaded, and `moving_key`
            [C, H', W', D'] in its own units on the same grid.

        Raises:
            InputError: the file of the transform has vanished since it was read.
        """
        case = dict(data)
        case[self.fixed_key] = fixed = case.pop(self.fixed_source_key)
        for key, source_key in zip(self.moving_keys, self.moving_source_keys, strict=True):
            case[key] = _restored(case[key], case.pop(source_key, None), fixed)
        return case


def _restored(registered: MetaTensor, moving: MetaTensor | None, fixed: MetaTensor) -> MetaTensor:
    """Return a registered volume on the grid of fixed, resampled from its own voxels if need be."""
    target, working = affine_of(fixed), affine_of(registered)
    values = reordered(registered.as_tensor(), working, target, fixed.shape[1:])
    if values is None:
        done = reports_of(registered)["registration"]
        values = (
            resample(
                moving,
                fixed,
                transform_of(registered),
                interpolation=done["interpolation"],
                outside=done["outside"],
            )
            .as_tensor()
            .contiguous()
        )
    meta = {key: value for key, value in registered.meta.items() if key != "affine"}
    return MetaTensor(values, affine=torch.from_numpy(target), meta=meta)


class ReleaseSourcesd(MapTransform):  # type: ignore[misc]
    """Drop moving volumes as they were loaded, if `RestoreSourcesd` can do without.

    Args:
        moving_key: the moving volume on the working grid, or several.
        fixed_source_key: the fixed volume as it was loaded.
        moving_source_key: what is dropped, one for each.
    """

    def __init__(
        self,
        moving_key: KeysCollection = "moving",
        *,
        fixed_source_key: str = "fixed_source",
        moving_source_key: KeysCollection = "moving_source",
    ) -> None:
        super().__init__(moving_key)
        self.fixed_source_key = fixed_source_key
        self.moving_source_keys = ensure_tuple(moving_source_key)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the case, without what is not needed."""
        case = dict(data)
        target = case[self.fixed_source_key]
        for key, source_key in zip(self.keys, self.moving_source_keys, strict=True):
            grids = affine_of(case[key]), affine_of(target)
            if reordering(case[key].shape[1:], *grids, target.shape[1:]) is not None:
                del case[source_key]
        return case


class LoadReferenceMaskd(MapTransform):  # type: ignore[misc]
    """Load the mask of a reference region and bring it onto the working grid.

    The mask, for example of the cerebellum, may have been drawn on either volume. Its grid tells
    which: it must be that of the fixed or of the moving volume.

    Args:
        path: file of the mask, true where it is greater than 0; None for no mask.
        fixed_key: the fixed volume on the working grid.
        moving_key: the moving volume on the working grid, after its registration.
        fixed_source_key: the fixed volume as it was loaded.
        moving_source_key: the moving volume as it was loaded.
        output_key: where the mask goes.

    Raises:
        InputError: there is no such file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        fixed_key: str = "fixed",
        moving_key: str = "moving",
        fixed_source_key: str = "fixed_source",
        moving_source_key: str = "moving_source",
        output_key: str = "reference_mask",
    ) -> None:
        super().__init__((fixed_key, moving_key))
        self.mask = None if path is None else LoadVolume()(path)
        if self.mask is not None and len(self.mask) != 1:
            raise InputError(f"{path} is in color; give a mask of one channel.")
        self.fixed_key, self.moving_key = fixed_key, moving_key
        self.fixed_source_key, self.moving_source_key = fixed_source_key, moving_source_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Add the mask to the case.

        Args:
            data: the case, after the registration.

        Returns:
            The case with the mask [1, H, W, D], 0 or 1, on the working grid, and the report
            ``"reference_mask"`` on the moving volume.

        Raises:
            InputError: the mask lies on neither of the two grids.
        """
        case = dict(data)
        if self.mask is None:
            return case
        name = volume_name(self.mask)
        if _same_grid(self.mask, case[self.fixed_source_key]):
            drawn_on, transform = "fixed", sitk.Transform(3, sitk.sitkIdentity)
        elif _same_grid(self.mask, case[self.moving_source_key]):
            drawn_on, transform = "moving", transform_of(case[self.moving_key])
        else:
            raise InputError(
                f"{name} lies neither on the grid of {volume_name(case[self.fixed_source_key])} "
                f"nor on that of {volume_name(case[self.moving_source_key])}; resample the mask "
                "to one of them."
            )
        binary = MetaTensor((self.mask > 0).float().as_tensor(), affine=self.mask.affine)
        mask = resample(
            binary, case[self.fixed_key], transform, interpolation="nearest", outside=0.0
        )
        case[self.output_key] = mask
        voxels = int((mask > 0).sum())
        note = {
            "path": name,
            "drawn_on": drawn_on,
            "voxels": voxels,
            "notes": reports_of(self.mask)["reading"]["notes"],
        }
        add_report(case[self.moving_key], "reference_mask", note)
        return case


def _same_grid(one: MetaTensor, other: MetaTensor) -> bool:
    """Whether the corners of two grids of one shape lie within a tenth of a millimeter."""
    if one.shape[1:] != other.shape[1:]:
        return False
    corners = np.array([[*np.multiply(e, one.shape[1:]), 1] for e in np.ndindex(2, 2, 2)])
    apart = corners @ (affine_of(one) - affine_of(other)).T
    return bool(np.abs(apart).max() < _SAME_PLACE_MM)


RestoreSourcesD = RestoreSourcesDict = RestoreSourcesd
ReleaseSourcesD = ReleaseSourcesDict = ReleaseSourcesd
LoadReferenceMaskD = LoadReferenceMaskDict = LoadReferenceMaskd
