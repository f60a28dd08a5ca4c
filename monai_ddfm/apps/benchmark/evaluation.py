"""`evaluate`: the figures of one fusion that already exists, whoever made it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.figures import measure_case
from monai_ddfm.data.readers import PICTURE_SUFFIXES
from monai_ddfm.data.writers.outputs import MARKER
from monai_ddfm.data.writers.telling import log_case_warnings
from monai_ddfm.errors import InputError
from monai_ddfm.metrics import PUBLISHED_METRICS, Convention, hue_error
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import as_list, sources_of
from monai_ddfm.transforms.grid import ToCanonicald
from monai_ddfm.transforms.intensity import NormalizeByModality
from monai_ddfm.transforms.loading import LoadVolumed
from monai_ddfm.transforms.pictures import JoinLuminanced, LoadPictured, picture_luminance
from monai_ddfm.utils.color import luminance, white_level

__all__ = ["evaluate"]

_ROLES = ("fused", "fixed", "moving")


def evaluate(
    fused: str | Path,
    *,
    fixed: str | Path | None = None,
    moving: str | Path | Sequence[str | Path] | None = None,
    modality: str | Sequence[str] | None = None,
    window: str | Sequence[str | None] | None = None,
    metrics: Sequence[str] = PUBLISHED_METRICS,
    convention: Convention = "evaluator",
    stretch: bool = False,
) -> dict[str, float]:
    """Measure a fused picture or volume against its sources.

    Pictures are taken as they are. Volumes must be on one grid; the sources are brought to gray
    levels by modality, as they are for the fusion.

    Args:
        fused: the result: a picture, a volume, or the folder that ``monai-ddfm fuse`` has written,
            which knows its sources.
        fixed: the MRI or the visible image.
        moving: the other source, on the same grid; or several. The figures are those of pairs, so
            there are some for the MRI with each of them.
        modality: of `moving`, for volumes; one for each of several.
        window: of `moving`, for volumes, if it is not the modality's own; likewise.
        metrics: names from `monai_ddfm.metrics.METRICS`.
        convention: of the metrics.
        stretch: map the least value of the result to black and the largest to white first.

    Returns:
        The figures by name, as `measure_case` gives them; with several moving volumes, the name of
            each stands before: ``pet SSIM``.

    Raises:
        InputError: if something cannot be used or the images are not on one grid.
    """
    place = Path(fused).expanduser()
    if (place / MARKER).is_file():
        place, fixed, sources = _from_run(place, fixed, moving, modality, window)
    else:
        sources = _given(moving, modality, window)
    if fixed is None or not sources:
        raise InputError(f"{fused} does not tell its sources; give --fixed and --moving.")
    figures: dict[str, float] = {}
    for one in sources:
        found = _measured(place, Path(fixed), one, metrics, convention, stretch=stretch)
        if one.name:
            found.pop("excess", None)  # of the pair; the bound of several is that of them all
        figures |= {f"{one.name} {key}".strip(): value for key, value in found.items()}
    return figures


@dataclass(frozen=True, kw_only=True)
class _Other:
    """A source beside the MRI.

    Attributes:
        path: of its volume or picture, on the grid of the result.
        modality: what it was measured with; None for a picture.
        window: its gray scale, None for its modality's own.
        name: that stands before its figures, "" for the only one.
    """

    path: Path
    modality: str | None
    window: str | None = None
    name: str = ""


def _given(moving: Any, modality: Any, window: Any) -> list[_Other]:
    """Return the sources that are given, without a look at them."""
    paths, kinds = as_list(moving), as_list(modality)
    if len(paths) < 2:
        kind = kinds[0] if kinds else None
        return [_Other(path=Path(path), modality=kind, window=window) for path in paths]
    sources = sources_of(paths, kinds, window=window)
    return [
        _Other(path=Path(s.path or ""), modality=s.modality, window=s.window, name=s.name)
        for s in sources
    ]


def _measured(
    place: Path,
    fixed: Path,
    other: _Other,
    metrics: Sequence[str],
    convention: Convention,
    *,
    stretch: bool,
) -> dict[str, float]:
    """Return the figures of a result with the MRI and one other source."""
    moving, modality, window = other.path, other.modality, other.window
    paths = dict(zip(_ROLES, (place, fixed, moving), strict=True))
    pictures = {role: path.suffix.lower() in PICTURE_SUFFIXES for role, path in paths.items()}
    if all(pictures.values()):
        case, result = _pictures(paths)
    elif any(pictures.values()):
        raise InputError(f"{place}, {fixed} and {moving} must be pictures all or volumes all.")
    else:
        if modality is None:
            raise InputError(f"{moving} may be anything; give --modality CT, PET or SPECT.")
        case, result = _volumes(paths, modality=Modality.parse(modality), window=window)
    gray = luminance(result[None]) if len(result) == 3 else result[None]
    figures = measure_case(case, gray, metrics=metrics, convention=convention, stretch=stretch)
    figures.pop("hue", None)
    colors = [source for source in (case.moving, case.fixed) if len(source) == 3]
    if colors and len(result) == 3:
        figures["hue"] = float(hue_error(result[None], colors[0][None]))
    return figures


def _from_run(
    folder: Path, fixed: str | Path | None, moving: Any, modality: Any, window: Any
) -> tuple[Path, str | Path, list[_Other]]:
    """Complete what is given from the record of a run."""
    try:
        record = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        source, options = record["inputs"]["fixed"]["path"], record["options"]
        kinds = [str(kind) for kind in as_list(modality or options["modality"])]
        keys = [str(role) for role in record["inputs"] if role != "fixed"]
        os.fsencode(source)  # what is no path is no record
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder / MARKER} is no record of a fusion; fuse again.") from error
    # The luminance of the result in color is not that of the fusion in every style.
    volume = folder / "fused.nii.gz"
    if not volume.is_file():
        volume = folder / "fused_rgb.nii.gz"
    windows = window or options.get("window")
    if moving is not None or len(keys) < 2:
        paths = moving or folder / "moving_registered.nii.gz"
        return volume, fixed or source, _given(paths, kinds, windows)
    names = [key.removeprefix("moving_") for key in keys]
    paths = [folder / f"moving_registered_{name}.nii.gz" for name in names]
    found = sources_of(paths, kinds, name=names, window=windows)
    others = [
        _Other(path=path, modality=one.modality, window=one.window, name=one.name)
        for path, one in zip(paths, found, strict=True)
    ]
    return volume, fixed or source, others


def _pictures(paths: dict[str, Path]) -> tuple[Case, Tensor]:
    case: dict[Any, Any] = {role: str(path) for role, path in paths.items()}
    case = JoinLuminanced()(LoadPictured(_ROLES)(case))
    log_case_warnings(case)
    sizes = {role: f"{case[role].shape[-1]} x {case[role].shape[-2]}" for role in _ROLES}
    if sizes["fused"] != sizes["fixed"]:
        raise InputError(
            f"{paths['fused']} has {sizes['fused']} pixels and {paths['fixed']} has "
            f"{sizes['fixed']}; give the sources of this result."
        )
    shown = {role: _plain(case[role]) for role in _ROLES}
    measured = Case(
        name=paths["fused"].stem,
        modality="IR",  # no matter here: the result has the color it has
        image=torch.cat([picture_luminance(shown[role]) for role in _ROLES[1:]])[None],
        fixed=shown["fixed"],
        moving=shown["moving"],
    )
    return measured, shown["fused"]


def _volumes(
    paths: dict[str, Path], *, modality: Modality, window: str | None
) -> tuple[Case, Tensor]:
    load = LoadVolumed(_ROLES, modality={"fixed": Modality.MR, "moving": modality})
    case: dict[Any, Any] = load(dict(paths))
    for role in ("fused", "moving"):
        same = np.allclose(case[role].affine, case["fixed"].affine, atol=1e-3)
        if case[role].shape[1:] != case["fixed"].shape[1:] or not same:
            raise InputError(
                f"{paths[role]} is not on the grid of {paths['fixed']}; give volumes on one grid, "
                "such as moving_registered.nii.gz of a fusion."
            )
    case = ToCanonicald(("fixed", "fused", "moving"))(case)
    fixed = NormalizeByModality(Modality.MR)(case["fixed"])
    moving = NormalizeByModality(modality, window=window)(case["moving"])
    log_case_warnings({"fused": case["fused"], "fixed": fixed, "moving": moving})
    image = ((torch.cat([_plain(fixed), _plain(moving)]) + 1) / 2).clamp(0, 1)
    raw, result = _plain(case["moving"]), _plain(case["fused"])
    result = result / white_level(result, name=str(paths["fused"]))
    colored = len(raw) == 3
    return (
        Case(
            name=paths["fused"].stem,
            modality=modality.value,
            image=image[None],
            fixed=image[:1],
            moving=(raw / white_level(raw)).clamp(0, 1) if colored else image[1:],
        ),
        result,
    )


def _plain(image: Any) -> Tensor:
    plain: Tensor = convert_to_tensor(image, track_meta=False).float()
    return plain
