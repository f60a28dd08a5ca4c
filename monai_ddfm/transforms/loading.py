"""Loading: a path in the case dictionary becomes a checked volume in its own units."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple

from monai_ddfm.data.readers import read_volume
from monai_ddfm.data.readers.checks import check_same_patient
from monai_ddfm.data.readers.selection import naming_role, parse_frames
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.utils.reports import add_report, reports_of

__all__ = [
    "CheckSamePatientD",
    "CheckSamePatientDict",
    "CheckSamePatientd",
    "LoadVolume",
    "LoadVolumeD",
    "LoadVolumeDict",
    "LoadVolumed",
    "parse_frames",
]


class LoadVolume(Transform):  # type: ignore[misc]
    """Load a volume from a file or a DICOM folder, or refuse it with one clear sentence.

    Reads NIfTI (RGB24 too), MGH, NRRD, MetaImage, single DICOM files with several frames, DICOM
    series folders and folders with several series. See `monai_ddfm.data.readers.read_volume` for
    what is checked and for the metadata.

    Args:
        modality: what the volume is expected to be: MR, CT, PET or SPECT. It chooses among the
            series of a folder and decides what happens to a fourth axis.
        series: which series of a DICOM folder: its description, number or SeriesInstanceUID.
        frames: 0-based time frames of a 4-D volume to average, see `parse_frames`; all frames by
            default for PET and SPECT, whereas MR and CT have to choose.
        allow_unknown_geometry: read DICOM frames that have no position in space as voxels of 1 mm.

    Examples:
        >>> volume = LoadVolume(modality="PET")("pet.nii.gz")  # doctest: +SKIP
        >>> volume.shape  # doctest: +SKIP
        torch.Size([1, 96, 104, 76])
    """

    def __init__(
        self,
        *,
        modality: str | Modality | None = None,
        series: str | None = None,
        frames: int | str | Sequence[int] | None = None,
        allow_unknown_geometry: bool = False,
    ) -> None:
        self.modality = Modality.parse(modality) if modality else None
        self.series = series
        self.frames = parse_frames(frames)
        self.allow_unknown_geometry = allow_unknown_geometry

    def __call__(self, data: str | os.PathLike[str]) -> MetaTensor:
        """Load one volume.

        Args:
            data: file or folder.

        Returns:
            [1, H, W, D] float32 in original units, or [3, H, W, D] in 0..255 for RGB, with the
            affine in RAS millimetres and the report ``"reading"``.

        Raises:
            InputError: what is there cannot be used.
        """
        volume = read_volume(
            data,
            modality=self.modality,
            series=self.series,
            frames=self.frames,
            allow_unknown_geometry=self.allow_unknown_geometry,
        )
        tensor = MetaTensor.ensure_torch_and_prune_meta(volume.array, volume.meta)
        add_report(tensor, "reading", volume.report)
        return tensor


class LoadVolumed(MapTransform):  # type: ignore[misc]
    """Dictionary version of `LoadVolume`.

    Args:
        keys: the items that hold paths.
        modality: one value for every key, a sequence with one per key, or a mapping by key.
        series: likewise.
        frames: one selection for every key, or a mapping by key.
        allow_unknown_geometry: see `LoadVolume`.
        allow_missing_keys: whether a case may lack some of the keys.
    """

    def __init__(
        self,
        keys: KeysCollection = ("fixed", "moving"),
        *,
        modality: str | Sequence[str | None] | Mapping[str, str | None] | None = None,
        series: str | Sequence[str | None] | Mapping[str, str | None] | None = None,
        frames: int | str | Sequence[int] | Mapping[str, Any] | None = None,
        allow_unknown_geometry: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        modalities = self._per_key(modality)
        chosen = self._per_key(series)
        self.loaders = {
            key: LoadVolume(
                modality=modalities[key],
                series=chosen[key],
                frames=frames.get(str(key)) if isinstance(frames, Mapping) else frames,
                allow_unknown_geometry=allow_unknown_geometry,
            )
            for key in self.keys
        }

    def _per_key(self, value: Any) -> dict[Any, Any]:
        if isinstance(value, Mapping):
            unknown = sorted(set(value) - set(self.keys))
            if unknown:
                raise InputError(f"{unknown} are no keys of this transform; use {self.keys}.")
            return {key: value.get(key) for key in self.keys}
        if isinstance(value, str) or not isinstance(value, Sequence):
            return dict.fromkeys(self.keys, value)
        if len(value) != len(self.keys):
            raise InputError(f"{list(value)} does not have one value for each of {self.keys}.")
        return dict(zip(self.keys, value, strict=True))

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Load every key of the case.

        Args:
            data: the case; its keys hold paths.

        Returns:
            The case with volumes in place of paths.

        Raises:
            InputError: a volume cannot be used.
        """
        case = dict(data)
        for key in self.key_iterator(case):
            try:
                case[key] = self.loaders[key](case[key])
            except InputError as error:
                raise InputError(naming_role(str(key), str(error))) from error
        return case


class CheckSamePatientd(MapTransform):  # type: ignore[misc]
    """Refuse to fuse volumes of two patients, or one volume twice.

    Compared are the DICOM patient IDs; where one side has none (NIfTI), nothing can be said, and
    the report ``"patient"`` on `moving_key` says so.

    Args:
        fixed_key: the fixed volume.
        moving_key: the moving volume, or several.
        allow_mismatch: go on although the IDs differ, and note it in the report.
    """

    def __init__(
        self,
        fixed_key: str = "fixed",
        moving_key: KeysCollection = "moving",
        *,
        allow_mismatch: bool = False,
    ) -> None:
        self.moving_keys = ensure_tuple(moving_key)
        super().__init__((fixed_key, *self.moving_keys))
        self.fixed_key = fixed_key
        self.allow_mismatch = allow_mismatch

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Compare the patients of the volumes.

        Args:
            data: a case that has been through `LoadVolumed`.

        Returns:
            The case, with the report ``"patient"`` on the moving volume: ``{"same": true | false |
            null, "mismatch_allowed": ...}``, null where one of the IDs is unknown.

        Raises:
            InputError: the patient IDs differ and that is not allowed, or two moving volumes are
                of the same files and frames.
        """
        case = dict(data)
        _check_different([case[key] for key in self.moving_keys])
        for key in self.moving_keys:
            moving = case[key]
            known = [
                (volume.meta.get("filename_or_obj", "?"), str(volume.meta.get("patient_id", "")))
                for volume in (case[self.fixed_key], moving)
            ]
            same = check_same_patient(*known, allow_mismatch=self.allow_mismatch)
            add_report(moving, "patient", {"same": same, "mismatch_allowed": self.allow_mismatch})
        return case


def _check_different(volumes: Sequence[MetaTensor]) -> None:
    """Refuse moving volumes that were read from the same files, and the same frames of them."""
    read: set[tuple[str, str]] = set()
    for volume in volumes:
        files = str(volume.meta.get("source_files") or "[]")
        frames = str(reports_of(volume).get("reading", {}).get("frames"))
        if files != "[]" and (files, frames) in read:
            raise InputError(
                f"{volume.meta.get('filename_or_obj', '?')} is the same volume twice; give each "
                "moving volume once, or another series with --moving-series."
            )
        read.add((files, frames))


LoadVolumeD = LoadVolumeDict = LoadVolumed
CheckSamePatientD = CheckSamePatientDict = CheckSamePatientd
