"""Registration of `moving` to `fixed` and resampling onto its grid, as MONAI transforms.

`RegisterVolumesd` does it all; its `method` may come from a configuration as a string:

* ``"rigid"``, ``"affine"``, ``"deformable"``: search (see `registration_engine`);
* ``"none"``: the volumes are aligned already, only resample by the headers;
* anything else: the path of an ITK transform file (see `transform_files` for its direction).

Values are interpolated once and keep their units. What was done, and how far it can be trusted
(see `registration_quality`), is the report ``"registration"`` of the resampled volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from monai_ddfm.transforms.registration_array import (
    ApplyTransform,
    RegisterAffine,
    RegisterDeformable,
    RegisterRigid,
    RegisterVolumes,
)

__all__ = [
    "ApplyTransform",
    "ApplyTransformD",
    "ApplyTransformDict",
    "ApplyTransformd",
    "RegisterAffine",
    "RegisterAffineD",
    "RegisterAffineDict",
    "RegisterAffined",
    "RegisterDeformable",
    "RegisterDeformableD",
    "RegisterDeformableDict",
    "RegisterDeformabled",
    "RegisterRigid",
    "RegisterRigidD",
    "RegisterRigidDict",
    "RegisterRigidd",
    "RegisterVolumes",
    "RegisterVolumesD",
    "RegisterVolumesDict",
    "RegisterVolumesd",
]


class RegisterVolumesd(MapTransform):  # type: ignore[misc]
    """Dictionary version of `RegisterVolumes`: replaces moving volumes by their resampling.

    Args:
        fixed_key: the volume to register to; it is not changed.
        moving_key: the volume to register, or several, each by itself.
        method: as for `RegisterVolumes`.
        options: as for `RegisterVolumes`.
    """

    def __init__(
        self,
        fixed_key: str = "fixed",
        moving_key: KeysCollection = "moving",
        method: str = "rigid",
        **options: Any,
    ) -> None:
        self.moving_keys = ensure_tuple(moving_key)
        super().__init__((fixed_key, *self.moving_keys))
        self.fixed_key = fixed_key
        self.register = RegisterVolumes(method, **options)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Register one case.

        Args:
            data: the case; see `RegisterVolumes.__call__` for the volumes.

        Returns:
            The case with the moving volumes on the fixed volume's grid.

        Raises:
            InputError: as `RegisterVolumes.__call__`.
        """
        case = dict(data)
        for key in self.moving_keys:
            case[key] = self.register(case[key], case[self.fixed_key])
        return case


class RegisterRigidd(RegisterVolumesd):
    """Dictionary version of `RegisterRigid`."""

    def __init__(
        self, fixed_key: str = "fixed", moving_key: str = "moving", **options: Any
    ) -> None:
        super().__init__(fixed_key, moving_key, "rigid", **options)


class RegisterAffined(RegisterVolumesd):
    """Dictionary version of `RegisterAffine`."""

    def __init__(
        self, fixed_key: str = "fixed", moving_key: str = "moving", **options: Any
    ) -> None:
        super().__init__(fixed_key, moving_key, "affine", **options)


class RegisterDeformabled(RegisterVolumesd):
    """Dictionary version of `RegisterDeformable`."""

    def __init__(
        self, fixed_key: str = "fixed", moving_key: str = "moving", **options: Any
    ) -> None:
        super().__init__(fixed_key, moving_key, "deformable", **options)


class ApplyTransformd(RegisterVolumesd):
    """Dictionary version of `ApplyTransform`."""

    def __init__(
        self, transform: str, fixed_key: str = "fixed", moving_key: str = "moving", **options: Any
    ) -> None:
        super().__init__(fixed_key, moving_key, transform, **options)


RegisterVolumesD = RegisterVolumesDict = RegisterVolumesd
RegisterRigidD = RegisterRigidDict = RegisterRigidd
RegisterAffineD = RegisterAffineDict = RegisterAffined
RegisterDeformableD = RegisterDeformableDict = RegisterDeformabled
ApplyTransformD = ApplyTransformDict = ApplyTransformd
