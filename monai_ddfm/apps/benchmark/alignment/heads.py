"""Pairs of volumes whose alignment is known, as the benchmark of registration takes them.

The folder is one that `find_pairs` reads: an MRI and other volumes side by side, as
``monai-ddfm demo`` writes them. The truth lies beside them, an ITK transform in LPS mm under the
demo's name, ``pet_to_t1_truth.tfm`` (points of the PET to points of the MRI), or under the other
direction's, ``t1_to_pet_truth.tfm``. A folder below the given one is one head, whatever pairs it
holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from monai.data import MetaTensor

from monai_ddfm.apps.benchmark.pairs import Pair, find_pairs
from monai_ddfm.data.transform_files import read_transform, transform_matrix
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.transforms.region import Region, decide_region
from monai_ddfm.transforms.similarity import working_image, working_spacing
from monai_ddfm.transforms.simpleitk_bridge import grid_image, scalar_image

__all__ = ["KnownPair", "find_known_pairs", "points_of_head"]

Matrix = npt.NDArray[np.float64]
_POINTS = 400


@dataclass(frozen=True)
class KnownPair:
    """Two volumes and the transform between them.

    Attributes:
        name: head and modality.
        head: whose head it is: the folder.
        modality: of `moving`.
        fixed: the MRI, [C, H, W, D].
        moving: the other volume.
        truth: [4, 4], points of fixed to points of moving, LPS mm.
        region: what they show, "head" or "body".
    """

    name: str
    head: str
    modality: str
    fixed: MetaTensor
    moving: MetaTensor
    truth: Matrix
    region: Region = "head"


def find_known_pairs(folder: str | Path) -> list[KnownPair]:
    """Read all pairs of a folder with their truths.

    Args:
        folder: see above.

    Returns:
        The pairs, sorted by folder and name.

    Raises:
        InputError: there is no pair, or one without a truth.
    """
    loaded: dict[Path, MetaTensor] = {}
    pairs = []
    for pair in find_pairs(folder):
        if pair.is_picture:
            raise InputError(f"{pair.fixed} is a picture; registration is tried on volumes.")
        for path, modality in ((pair.fixed, "MR"), (pair.moving, pair.modality)):
            if path not in loaded:
                loaded[path] = LoadVolume(modality=modality)(path)
        head = pair.fixed.parent.name
        name = f"{head} {pair.modality}"
        fixed, moving = loaded[pair.fixed], loaded[pair.moving]
        region = decide_region(fixed, [moving]).region
        pairs.append(KnownPair(name, head, pair.modality, fixed, moving, _truth(pair), region))
    names = [pair.name for pair in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"there are two pairs {name!r} in {folder}; rename a folder.")
    return pairs


def _truth(pair: Pair) -> Matrix:
    folder, moving = pair.moving.parent, pair.modality.lower()
    fixed = pair.fixed.name.lower().split(".")[0]
    there, back = (
        folder / f"{one}_to_{other}_truth.tfm" for one, other in ((fixed, moving), (moving, fixed))
    )
    if not (there.exists() or back.exists()):
        raise InputError(f"{pair.moving} has no truth; write {back.name} beside it.")
    transform = read_transform(there) if there.exists() else read_transform(back, invert=True)
    if not transform.IsLinear():
        raise InputError(f"the truth of {pair.moving} is no linear transform; give one.")
    return transform_matrix(transform)


def points_of_head(volume: MetaTensor, rng: np.random.Generator) -> Matrix:
    """Return places in the head, or the body, at random, [N, 3], LPS mm.

    Args:
        volume: what shows it, [C, H, W, D].
        rng: chooses the places.
    """
    spacing, region = working_spacing(grid_image(volume)), decide_region(volume, []).region
    seen = working_image(scalar_image(volume), spacing=spacing, region=region)
    index = np.argwhere(sitk.GetArrayViewFromImage(seen.head).transpose(2, 1, 0) > 0)
    chosen: list[list[float]] = rng.choice(index, _POINTS).astype(float).tolist()
    place = seen.head.TransformContinuousIndexToPhysicalPoint
    return np.array([place(one) for one in chosen])
