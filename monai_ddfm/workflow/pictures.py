"""Fusion of pictures from Python and from the command line.

As for volumes, the work is a configuration's: ``pictures.json`` amends the bundle's
``inference.json`` with other readers and writers; prior, inferer and presets are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from monai_ddfm.data.writers.pictures import plan_pictures
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import PictureModality
from monai_ddfm.options import PictureOptions
from monai_ddfm.workflow import run_configuration
from monai_ddfm.workflow.bundle_files import prior_overrides

__all__ = ["FusedPicture", "fuse_pictures"]


@dataclass(frozen=True, slots=True)
class FusedPicture:
    """What has been written for one pair.

    Attributes:
        picture: the result.
        record: how it came to be, JSON.
    """

    picture: Path
    record: Path


def fuse_pictures(
    fixed: str | Path,
    moving: str | Path,
    *,
    modality: str,
    output: str | Path,
    prior: str | Path | None = None,
    **options: Unpack[PictureOptions],
) -> list[FusedPicture]:
    """Fuse two pictures of the same place, or two folders of them.

    Args:
        fixed: the MRI or the visible image (PNG, JPEG or TIFF), or a folder.
        moving: the other picture of the same size, or a folder with pictures of the same names.
        modality: of `moving`: "CT", "PET", "SPECT" or "IR".
        output: the picture to write; for two folders, the folder for the results.
        prior: another prior than the bundle's, with its sidecar.
        options: see `monai_ddfm.options`; None is the configuration's own.

    Returns:
        What has been written, in the order of the names. The color of the source in color is kept.

    Raises:
        InputError: if something given cannot be used. Nothing is written if that shows before the
            first picture is fused.

    Examples:
        >>> from monai_ddfm.workflow.pictures import fuse_pictures
        >>> fuse_pictures("visible.png", "infrared.png", modality="IR",
        ...               output="fused.png")  # doctest: +SKIP
    """
    for name, path in (("fixed", fixed), ("moving", moving), ("output", output)):
        if not str(path).strip():
            raise InputError(f"option {name!r} is empty; give a path.")
    parsed = PictureModality.parse(modality)
    cases = plan_pictures(fixed, moving, output)
    given = {
        "fixed": Path(fixed),
        "moving": Path(moving),
        "output": Path(output),
        "modality": parsed.value,
        **({} if prior is None else prior_overrides(prior)),
        **options,
    }
    run_configuration("inference.json", "pictures.json", options=given)
    targets = [Path(case["output"]).absolute() for case in cases]
    return [FusedPicture(path, path.with_suffix(".json")) for path in targets]
