"""Small cohorts for the tests: the demo's generator on coarse grids."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_ddfm.apps.demo.anatomy import Anatomy, build_anatomy
from monai_ddfm.apps.demo.modalities import Volume, make_moving, make_mri, rigid_truth

SCALE = 5.6  # 32 x 39 x 12 voxels
FAST = ("--steps", "2", "--registration", "none", "--device", "cpu")
OPTIONS: dict[str, Any] = {"steps": 2, "registration": "none"}


@cache
def anatomy() -> Anatomy:
    return build_anatomy(0, voxel=2.0)


@cache
def volumes(seed: int, modality: str = "PET") -> tuple[Volume, Volume]:
    """An MRI and a moving volume: one head, but noise, shading and position of their own."""
    truth = rigid_truth(seed, modality)
    moving = make_moving(anatomy(), modality, seed, SCALE, truth)
    return make_mri(anatomy(), seed, SCALE), moving


def save(path: Path, volume: Volume) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data: NDArray[Any] = volume.data
    image = nib.Nifti1Image(data, volume.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def tiny(path: Path, value: float = 1.0) -> Path:
    """A file with a header that can be read; for plans, which do not look further."""
    data = np.full((4, 4, 4), value, dtype=np.float32)
    return save(path, Volume(data, np.eye(4)))


def bids_root(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    about = {"Name": "test", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    return root


def bids_path(root: Path, subject: str, suffix: str, *, session: str = "", extra: str = "") -> Path:
    kind = "anat" if suffix in ("T1w", "T2w", "FLAIR") else suffix
    parts = [f"sub-{subject}", *([f"ses-{session}"] if session else [])]
    name = "_".join([*parts, *([extra] if extra else []), f"{suffix}.nii.gz"])
    return root.joinpath(*parts, kind, name)


def bids_cohort(root: Path, count: int, *, modality: str = "PET") -> Path:
    """A BIDS data set of `count` subjects, sub-01 and so on, that can be fused."""
    bids_root(root)
    for number in range(1, count + 1):
        mri, moving = volumes(number, modality)
        save(bids_path(root, f"{number:02d}", "T1w"), mri)
        save(bids_path(root, f"{number:02d}", modality.lower()), moving)
    return root


def cohort_with_faults(root: Path) -> Path:
    """Two subjects that can be fused, one whose file is cut off, and one without an MRI."""
    bids_cohort(root, 3)
    broken = bids_path(root, "03", "pet")
    plain = gzip.decompress(broken.read_bytes())
    broken.write_bytes(gzip.compress(plain[: len(plain) // 2]))
    tiny(bids_path(root, "04", "pet"))
    return root
