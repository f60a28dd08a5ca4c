"""What becomes of the items of a case: two names for the same voxels, and letting go of voxels.

A volume of 400 slices takes half a gigabyte, and a case has a dozen volumes. So a second name does
not copy, and voxels that no later transform looks at are released. Transforms make new volumes and
leave their inputs as they are, so that sharing is safe.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import TransformBackends, ensure_tuple

__all__ = [
    "ReleaseVoxelsD",
    "ReleaseVoxelsDict",
    "ReleaseVoxelsd",
    "ShareItemsD",
    "ShareItemsDict",
    "ShareItemsd",
    "with_meta_of",
]


class ShareItemsd(MapTransform):  # type: ignore[misc]
    """Give volumes a second name, with metadata of its own and without copying voxels.

    Args:
        keys: the volumes, MetaTensors.
        names: their second names, one for each key.

    Raises:
        ValueError: there are not as many names as keys.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(self, keys: KeysCollection, names: KeysCollection) -> None:
        super().__init__(keys)
        self.names = ensure_tuple(names)
        if len(self.names) != len(self.keys):
            raise ValueError(f"{self.names} are not as many names as the keys {self.keys}")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with the second names added."""
        case = dict(data)
        for key, name in zip(self.keys, self.names, strict=True):
            case[name] = with_meta_of(case[key], case[key].as_tensor())
        return case


class ReleaseVoxelsd(MapTransform):  # type: ignore[misc]
    """Let go of voxels that are not looked at any more; metadata, shape and reports stay.

    Args:
        keys: the volumes, MetaTensors; their voxels read as NaN afterward.
        allow_missing_keys: pass over keys that are absent.
    """

    backend = ShareItemsd.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case without the voxels."""
        case = dict(data)
        for key in self.key_iterator(case):
            nothing = torch.full((), torch.nan, device=case[key].device).expand(case[key].shape)
            case[key] = with_meta_of(case[key], nothing)
        return case


def with_meta_of(volume: MetaTensor, voxels: torch.Tensor) -> MetaTensor:
    """Return other voxels with the metadata of a volume, copied."""
    return MetaTensor(
        voxels,
        meta=deepcopy(volume.meta),
        applied_operations=deepcopy(volume.applied_operations),
    )


ShareItemsD = ShareItemsDict = ShareItemsd
ReleaseVoxelsD = ReleaseVoxelsDict = ReleaseVoxelsd
