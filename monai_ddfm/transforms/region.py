"""Which part of the body two volumes show: a head, or a trunk.

What holds for a head does not for a trunk: its outline, how it may lie in a scanner, how far two
scans of it can agree at all. `ChooseRegiond` decides once, and leaves the word with all volumes of
the case, as ``meta["region"]``; transforms that find none take a head.

``auto`` asks in this order, and the first that can tell decides:

* BodyPartExamined of the fixed volume;
* its outline: a head is less than 250 mm across from left to right, a trunk more than 280 mm;
* the same of the moving volume.

If none can, it is a head, which is what this program is made for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple
from nibabel.orientations import io_orientation
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.body_outline import Region, body_mask
from monai_ddfm.transforms.grid_geometry import affine_of
from monai_ddfm.utils.reports import add_report

__all__ = [
    "ChooseRegionD",
    "ChooseRegionDict",
    "ChooseRegiond",
    "Decision",
    "Region",
    "RegionChoice",
    "check_region",
    "decide_region",
    "region_of",
    "width_of_outline",
]

RegionChoice = Literal["head", "body", "auto"]

_LOG = logging.getLogger(__name__)
_WIDEST_HEAD: Final = 250.0  # mm
_NARROWEST_BODY: Final = 280.0  # mm
_LATTICE_MM: Final = 6.0
_MOST_PER_AXIS: Final = 96
# Defined terms of BodyPartExamined, DICOM PS3.16 annex L. A neck may be scanned with a head or with
# shoulders, and a whole body holds both: they do not tell.
_PARTS: Final[Mapping[Region, str]] = {
    "head": " HEAD BRAIN SKULL FACE ORBIT EYE EAR SINUS JAW TMJ IAC ",
    "body": (
        " ABDOMEN ABDOMENPELVIS PELVIS CHEST CHESTABDOMEN CHESTABDPELVIS THORAX LIVER KIDNEY "
        "SPLEEN PANCREAS STOMACH COLON BOWEL RECTUM BLADDER PROSTATE UTERUS OVARY HEART LUNG "
        "MEDIASTINUM BREAST TSPINE LSPINE TLSPINE LSSPINE SSPINE COCCYX HIP ADRENAL AORTA "
    ),
}


@dataclass(frozen=True)
class Decision:
    """What the volumes show.

    Attributes:
        region: "head" or "body".
        reason: why, as a clause.
    """

    region: Region
    reason: str


def region_of(volume: torch.Tensor) -> Region:
    """Return the region that has been decided for a volume; a head if none has."""
    found = volume.meta.get("region") if isinstance(volume, MetaTensor) else None
    return "body" if found == "body" else "head"


def check_region(word: str) -> RegionChoice:
    """Return the word in lower case.

    Raises:
        InputError: it is not "head", "body" or "auto".
    """
    plain = str(word).lower()
    for known in get_args(RegionChoice):
        if plain == known:
            return known  # type: ignore[no-any-return]  # get_args is not typed
    raise InputError(f"region {word!r} is unknown: use {', '.join(get_args(RegionChoice))}")


def decide_region(
    fixed: MetaTensor, moving: Sequence[MetaTensor], *, choice: str = "auto"
) -> Decision:
    """Decide what the volumes of a case show.

    Args:
        fixed: [C, H, W, D].
        moving: the others, likewise.
        choice: "head", "body", or "auto".

    Raises:
        InputError: the choice is unknown.
    """
    choice = check_region(choice)
    if choice != "auto":
        return Decision("body" if choice == "body" else "head", "as asked for")
    for volume, name in ((fixed, "fixed"), *((one, "moving") for one in moving)):
        if found := _told_by(volume, f"the {name} volume"):
            return found
    return Decision("head", "neither headers nor outlines tell otherwise")


def width_of_outline(volume: MetaTensor) -> float | None:
    """Return how wide what is seen is from left to right, in mm: the median of its axial slices.

    Args:
        volume: [C, H, W, D].

    Returns:
        None if there is no outline, or if the field of view cuts it at both sides and is itself no
        wider than a head.
    """
    values, spacing, axes = _lattice(volume)
    across, along = axes.index(0), axes.index(2)
    found = body_mask(values)
    if found.all():
        return None
    mask = np.asarray(np.moveaxis(found, (across, along), (0, 2)).any(axis=1))
    slices = mask[:, mask.any(axis=0)]
    first, last = slices.argmax(axis=0), slices[::-1].argmax(axis=0)
    width = float(np.median(len(slices) - first - last)) * spacing[across]
    cut = float(np.median(first)) == float(np.median(last)) == 0
    return None if cut and width < _NARROWEST_BODY else width


def _told_by(volume: MetaTensor, name: str) -> Decision | None:
    word = str(volume.meta.get("body_part") or "").upper()
    for part, words in _PARTS.items():
        if word and f" {word} " in words:
            return Decision(part, f"the header of {name} names {word}")
    width = width_of_outline(volume)
    if width is not None and not _WIDEST_HEAD < width < _NARROWEST_BODY:
        shown: Region = "head" if width <= _WIDEST_HEAD else "body"
        return Decision(shown, f"the outline in {name} is {width:.0f} mm across")
    return None


def _lattice(
    volume: MetaTensor,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[int]]:
    """Return block means on a coarse lattice, its spacing in mm, and the patient axis of each."""
    affine = affine_of(volume)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = np.array(volume.shape[1:])
    size = np.minimum(np.ceil(shape * spacing / _LATTICE_MM), np.minimum(shape, _MOST_PER_AXIS))
    size = np.maximum(size, 1).astype(int)
    mean = volume.as_tensor().float().mean(dim=0, keepdim=True)
    coarse = functional.adaptive_avg_pool3d(mean, size.tolist())[0]
    axes = [int(axis) for axis in io_orientation(affine)[:, 0]]
    return coarse.cpu().numpy().astype(np.float64), spacing * shape / size, axes


class ChooseRegiond(MapTransform):  # type: ignore[misc]
    """Decide whether a case shows a head or a body, and leave that with its volumes.

    Args:
        region: "head", "body", or "auto".
        fixed_key: the fixed volume; it gets the report ``"region"``.
        moving_key: the moving volume, or several.

    Raises:
        InputError: the region is unknown.
    """

    def __init__(
        self,
        region: str = "auto",
        *,
        fixed_key: str = "fixed",
        moving_key: str | Sequence[str] = "moving",
    ) -> None:
        self.moving_keys = ensure_tuple(moving_key)
        super().__init__((fixed_key, *self.moving_keys))
        self.region = check_region(region)
        self.fixed_key = fixed_key

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Decide.

        Args:
            data: a case that has been through `LoadVolumed`.

        Returns:
            The case; its volumes hold ``meta["region"]``, the fixed one the report ``"region"``.
        """
        case = dict(data)
        moving = [case[key] for key in self.moving_keys]
        found = decide_region(case[self.fixed_key], moving, choice=self.region)
        for key in self.keys:
            case[key].meta["region"] = found.region
        notes = []
        if found.region == "body":
            notes = [
                "the prior was trained on heads; what it does in a body is in the documentation"
            ]
            if self.region == "auto":
                told = (
                    f"the volumes are taken to show a body: {found.reason} (--region head if not)"
                )
                notes.insert(0, told)
        report = {"region": found.region, "reason": found.reason, "notes": notes}
        add_report(case[self.fixed_key], "region", report)
        _LOG.info("Region: %s (%s).", found.region, found.reason)
        return case


ChooseRegionD = ChooseRegionDict = ChooseRegiond
