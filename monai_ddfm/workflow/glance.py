"""What can be seen of a fusion before anything heavy is loaded: options, paths and headers.

PyTorch and MONAI take seconds to load. A wrong path, an option out of its range, a second MRI
instead of the PET, or another patient shows here at once, in the sentences that the run itself
would end with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_ddfm.data.readers import OpenedVolume, open_volume
from monai_ddfm.data.readers.checks import check_same_patient
from monai_ddfm.data.readers.selection import naming_role, parse_frames
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.options import all_options
from monai_ddfm.options.values import check_values
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.places import check_apart
from monai_ddfm.utils.words import grid_words

__all__ = ["Glance", "check_paths", "glance"]


@dataclass(frozen=True)
class Glance:
    """The two sources, as far as their headers tell.

    Attributes:
        paths: by role, "fixed" and "moving".
        modality: of the moving volume.
        opened: by role.
    """

    paths: Mapping[str, Path]
    modality: Modality
    opened: Mapping[str, OpenedVolume]

    def __str__(self) -> str:
        """Say both in one line."""
        kinds = {"fixed": "MRI", "moving": str(self.modality)}
        return " and ".join(
            f"{self.paths[role].name} ({kinds[role]}, {_about(one)})"
            for role, one in self.opened.items()
        )


def glance(
    fixed: str | Path,
    moving: str | Path,
    *,
    modality: str,
    output_dir: str | Path,
    options: Mapping[str, Any],
) -> Glance:
    """Check all that needs no voxel.

    Args:
        fixed: the MRI.
        moving: the CT, PET or SPECT.
        modality: of `moving`.
        output_dir: folder for the results; whether it can be made is tried.
        options: further options by name.

    Raises:
        InputError: if something given cannot be used.
    """
    check_values({**options, "modality": modality})
    kind = Modality.parse(modality)
    places = check_paths(fixed, moving, output_dir)
    for name, option in all_options().items():
        path = options.get(name) if option.is_path and not option.required else None
        if isinstance(path, str | Path) and not Path(path).expanduser().is_file():
            raise InputError(f"{path} is not a file; check {option.flag}.")
    opened = {
        role: _opened(role, places[role], word, options)
        for role, word in (("fixed", Modality.MR), ("moving", kind))
    }
    known = [(places[role], one.patient_id) for role, one in opened.items()]
    allowed = bool(options.get("allow_patient_mismatch"))
    check_same_patient(known[0], known[1], allow_mismatch=allowed)
    prepare_output_dir(output_dir)
    if options.get("deidentify"):  # people write names into descriptions
        opened = {role: replace(one, series="") for role, one in opened.items()}
    return Glance({role: places[role] for role in opened}, kind, opened)


def check_paths(fixed: str | Path, moving: str | Path, output_dir: str | Path) -> dict[str, Path]:
    """Refuse paths that are empty, the same twice, or within each other.

    Returns:
        The three by the names of their options.

    Raises:
        InputError: naming the path.
    """
    given = {"fixed": fixed, "moving": moving, "output_dir": output_dir}
    for name, path in given.items():
        if not str(path).strip():
            raise InputError(f"option {name!r} is empty; give a path.")
    paths = {name: Path(path) for name, path in given.items()}
    if paths["fixed"].absolute() == paths["moving"].absolute() and paths["fixed"].is_file():
        raise InputError(f"{fixed} is given twice; give the CT, PET or SPECT as moving.")
    sources = {name: paths[name] for name in ("fixed", "moving")}
    check_apart(sources, written=[], mixed=[paths["output_dir"]])
    return paths


def _opened(role: str, path: Path, kind: Modality, options: Mapping[str, Any]) -> OpenedVolume:
    try:
        return open_volume(
            path,
            modality=kind,
            series=options.get(f"{role}_series"),
            frames=parse_frames(options.get(f"{role}_frames")),
        )
    except InputError as error:
        raise InputError(naming_role(role, str(error))) from error


def _about(volume: OpenedVolume) -> str:
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    grid = grid_words(volume.shape, tuple(float(size) for size in spacing))
    return f"series '{volume.series}', {grid}" if volume.series else grid
