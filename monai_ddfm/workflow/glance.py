"""What can be seen of a fusion before anything heavy is loaded: options, paths and headers.

PyTorch and MONAI take seconds to load. A wrong path, an option out of its range, a second MRI
instead of the PET, or another patient shows here at once, in the sentences that the run itself
would end with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from monai_ddfm.sources import Source, as_list, sources_of
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.places import check_apart
from monai_ddfm.utils.words import grid_words

__all__ = ["Glance", "check_paths", "glance"]


@dataclass(frozen=True)
class Glance:
    """The sources, as far as their headers tell.

    Attributes:
        paths: by role, "fixed" and "moving", or one for each of several moving volumes.
        kinds: what each is, likewise.
        opened: likewise.
    """

    paths: Mapping[str, Path]
    kinds: Mapping[str, str]
    opened: Mapping[str, OpenedVolume]

    def __str__(self) -> str:
        """Say all in one line."""
        return " and ".join(
            f"{self.paths[role].name} ({self.kinds[role]}, {_about(one)})"
            for role, one in self.opened.items()
        )


def glance(
    fixed: str | Path,
    moving: str | Path | Sequence[str | Path],
    *,
    modality: str | Sequence[str],
    output_dir: str | Path,
    options: Mapping[str, Any],
) -> Glance:
    """Check all that needs no voxel.

    Args:
        fixed: the MRI.
        moving: the CT, PET or SPECT; or several.
        modality: of `moving`; one for each of several.
        output_dir: folder for the results; whether it can be made is tried.
        options: further options by name.

    Raises:
        InputError: if something given cannot be used.
    """
    check_values({**options, "modality": modality})
    chosen = {name: options.get(f"moving_{name}") for name in ("series", "frames")}
    beside = {"name": options.get("name"), "window": options.get("window"), "beside": options}
    sources = sources_of(moving, modality, **chosen, **beside)
    check_paths(fixed, moving, output_dir)
    for name, option in all_options().items():
        path = options.get(name) if option.is_path and not option.required else None
        if isinstance(path, str | Path) and not Path(path).expanduser().is_file():
            raise InputError(f"{path} is not a file; check {option.flag}.")
    opened = {
        "fixed": _opened(
            Source(
                modality=Modality.MR,
                path=fixed,
                series=options.get("fixed_series"),
                frames=options.get("fixed_frames"),
            ),
            role="fixed",
        ),
        **{source.key: _opened(source, role="moving") for source in sources},
    }
    places = {"fixed": Path(fixed), **{source.key: Path(source.path or "") for source in sources}}
    known = {role: (places[role], one.patient_id) for role, one in opened.items()}
    allowed = bool(options.get("allow_patient_mismatch"))
    for source in sources:
        check_same_patient(known["fixed"], known[source.key], allow_mismatch=allowed)
    prepare_output_dir(output_dir)
    if options.get("deidentify"):  # people write names into descriptions
        opened = {role: replace(one, series="") for role, one in opened.items()}
    kinds = {"fixed": "MRI", **{source.key: source.title for source in sources}}
    return Glance(places, kinds, opened)


def check_paths(
    fixed: str | Path, moving: str | Path | Sequence[str | Path], output_dir: str | Path
) -> dict[str, Any]:
    """Refuse paths that are empty, the same twice, or within each other.

    Returns:
        The three by the names of their options; of several moving volumes a list.

    Raises:
        InputError: naming the path.
    """
    several = as_list(moving)
    given = [("fixed", fixed), *(("moving", path) for path in several), ("output_dir", output_dir)]
    for name, path in given:
        if not str(path).strip():
            raise InputError(f"option {name!r} is empty; give a path.")
    paths = [Path(path) for path in several]
    for path in paths:
        if Path(fixed).absolute() == path.absolute() and path.is_file():
            raise InputError(f"{fixed} is given twice; give the CT, PET or SPECT as moving.")
    for path in paths:
        apart = {"fixed": Path(fixed), "moving": path}
        check_apart(apart, written=[], mixed=[Path(output_dir)])
    found = paths[0] if len(paths) == 1 else paths
    return {"fixed": Path(fixed), "moving": found, "output_dir": Path(output_dir)}


def _opened(source: Source, *, role: str) -> OpenedVolume:
    assert source.path is not None
    try:
        return open_volume(
            Path(source.path),
            modality=source.modality,
            series=source.series,
            frames=parse_frames(source.frames),
        )
    except InputError as error:
        raise InputError(naming_role(role, str(error))) from error


def _about(volume: OpenedVolume) -> str:
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    grid = grid_words(volume.shape, tuple(float(size) for size in spacing))
    return f"series '{volume.series}', {grid}" if volume.series else grid
