"""Finding pairs in a folder.

Three layouts are known, at the folder itself or in folders below it:

* two folders of pictures, ``MRI`` (or ``MR``, ``T1``, ``fixed``, ``visible``, ``VIS``) and one that
  is named by the modality (``CT``, ``PET``, ``SPECT``, ``IR``, ``infrared``); pictures of the same
  name are a pair;
* two volumes side by side, the MRI (``mri.nii.gz``, ``t1.nii.gz``, ``fixed.nii.gz``) and one whose
  name begins with its modality (``pet_moved.nii.gz``, ``spect_rgb.nii.gz``);
* two folders with a DICOM series each, named like the folders of pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monai_ddfm.data.readers import PICTURE_SUFFIXES
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import PictureModality

__all__ = ["Pair", "find_pairs"]

_FIXED: Final = ("mri", "mr", "t1", "fixed", "visible", "vis")
_MOVING: Final = {
    "ct": PictureModality.CT,
    "pet": PictureModality.PET,
    "spect": PictureModality.SPECT,
    "ir": PictureModality.IR,
    "infrared": PictureModality.IR,
}
_VOLUME_SUFFIXES: Final = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")
_DEPTH: Final = 3


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images of the same place.

    Attributes:
        name: what the tables call the pair.
        modality: of `moving`: "CT", "PET", "SPECT" or "IR".
        fixed: the MRI or the visible image: a picture, a volume or a DICOM folder.
        moving: the other.
    """

    name: str
    modality: str
    fixed: Path
    moving: Path

    @property
    def is_picture(self) -> bool:
        """Whether both are pictures rather than volumes."""
        return self.fixed.suffix.lower() in PICTURE_SUFFIXES


def find_pairs(folder: str | Path, *, limit: int | None = None) -> list[Pair]:
    """Find all pairs in a folder, in one of the layouts above.

    Args:
        folder: what is searched, down to three folders below it.
        limit: at most so many pairs of each modality; None is all.

    Returns:
        The pairs, sorted by folder and name.

    Raises:
        InputError: if there is no such folder or no pair, if `limit` is below 1, or if a picture
            has no partner.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with pairs of pictures or volumes.")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit} is unusable; give 1 or more.")
    found = list(_pairs_below(folder, _DEPTH))
    if not found:
        raise InputError(
            f"{folder} holds no pairs; it needs folders such as MRI and PET with pictures of the "
            "same names, or volumes such as mri.nii.gz and pet.nii.gz."
        )
    counts: dict[str, int] = {}
    kept = []
    for pair in found:
        counts[pair.modality] = counts.get(pair.modality, 0) + 1
        if limit is None or counts[pair.modality] <= limit:
            kept.append(pair)
    return kept


def _pairs_below(folder: Path, depth: int) -> Iterator[Pair]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path for path in entries if path.is_dir()]
    volumes = [path for path in entries if path.name.lower().endswith(_VOLUME_SUFFIXES)]
    yield from _pairs_of(folder, volumes)
    pairs = list(_pairs_of(folder, folders))
    for pair in pairs:
        pictures = _pictures(pair.fixed), _pictures(pair.moving)
        yield from _matched(pair, *pictures) if any(pictures) else [pair]
    paired = {path for pair in pairs for path in (pair.fixed, pair.moving)}
    if depth > 0:
        for path in folders:
            if path not in paired:
                yield from _pairs_below(path, depth - 1)


def _pairs_of(folder: Path, entries: list[Path]) -> Iterator[Pair]:
    """Yield the fixed entry with each moving one, by their names."""
    fixed = [path for path in entries if _word(path) in _FIXED]
    for path in entries:
        modality = _MOVING.get(_word(path))
        if modality is not None and fixed:
            if len(fixed) > 1:
                raise InputError(f"{fixed[0]} and {fixed[1]} may both be meant; remove one.")
            yield Pair(name=folder.name, modality=modality, fixed=fixed[0], moving=path)


def _word(path: Path) -> str:
    """Return the first word of a name: ``pet`` of ``pet_moved.nii.gz``."""
    return re.split(r"[^a-z0-9]", path.name.lower())[0]


def _pictures(folder: Path) -> dict[str, Path]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURE_SUFFIXES]
    return {path.stem: path for path in paths}


def _matched(pair: Pair, fixed: dict[str, Path], moving: dict[str, Path]) -> Iterator[Pair]:
    alone = sorted(fixed.keys() ^ moving.keys())
    if alone:
        path = {**fixed, **moving}[alone[0]]
        other = pair.moving if alone[0] in fixed else pair.fixed
        raise InputError(f"{path} has no partner in {other}; add it or remove the picture.")
    for name, path in fixed.items():
        yield Pair(name=name, modality=pair.modality, fixed=path, moving=moving[name])
