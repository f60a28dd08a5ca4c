"""Cases as they stand at the end of the chain, from the demo's images, without a network."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CopyItemsd
from run_cases import demo

from monai_ddfm.transforms.colorize import ColorizeFusiond
from monai_ddfm.transforms.grid import RestoreGridd, ToCanonicald
from monai_ddfm.transforms.intensity import NormalizeByModalityd
from monai_ddfm.transforms.loading import LoadVolumed
from monai_ddfm.transforms.registration import RegisterVolumesd

ON_GRID = ["fused", "fused_rgb", "weight", "moving", "fixed"]


def fusion_case(
    fixed: Path,
    moving: Path,
    *,
    modality: str,
    transform: Path | None = None,
    invert: bool = True,
    bone_tint: bool = False,
) -> dict:
    """A case whose fusion is the mean of the two volumes, weighted by `moving`.

    Args:
        fixed: the MRI, a file or a DICOM folder.
        moving: the other volume.
        modality: of `moving`.
        transform: ITK file; None for volumes that are aligned.
        invert: whether the file leads from moving to fixed.
        bone_tint: for CT in color.
    """
    method = "none" if transform is None else str(transform)
    register = RegisterVolumesd(
        method=method, invert=invert and transform is not None, refuse=False
    )
    case = Compose(
        [
            LoadVolumed(modality=["MR", modality]),
            ToCanonicald("fixed"),
            register,
            CopyItemsd(["fixed", "moving"], names=["fixed_scaled", "moving_scaled"]),
            NormalizeByModalityd("fixed_scaled", "MR"),
            NormalizeByModalityd("moving_scaled", modality),
        ]
    )({"fixed": str(fixed), "moving": str(moving)})
    first, second = case["fixed_scaled"], case["moving_scaled"]
    weight = (second.as_tensor() + 1) / 4 + 0.25
    fused = ((1 - weight) * first + weight * second).as_tensor()
    case["fused"] = MetaTensor((fused + 1) / 2, meta=dict(case["fixed"].meta))
    case["weight"] = MetaTensor(weight, meta=dict(case["fixed"].meta))
    case = ColorizeFusiond(modality, bone_tint=bone_tint)(case)
    case = RestoreGridd(ON_GRID, allow_missing_keys=True)(case)
    assert torch.as_tensor(case["fused"]).isfinite().all()
    return case


@functools.cache
def demo_case(modality: str, form: str = "dicom", *, bone_tint: bool = False) -> dict:
    """The case of a demo subject; do not change it."""
    subject = demo(modality)
    dicom = form == "dicom"
    return fusion_case(
        subject.fixed_dicom if dicom else subject.fixed,
        subject.moving_dicom if dicom else subject.moving,
        modality=modality,
        transform=subject.truth,
        bone_tint=bone_tint,
    )


def errors_of(files: list[Path]) -> dict[str, list[str]]:
    """What dciodvfy calls errors, by file; the test is skipped where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    found = {}
    for file in files:
        said = subprocess.run(
            [program, str(file)], capture_output=True, text=True, check=False
        ).stderr
        assert said.strip(), "dciodvfy names the class at least"
        errors = [line for line in said.splitlines() if line.startswith("Error")]
        if errors:
            found[f"{file.parent.name}/{file.name}"] = errors
    return found


def read_series(folder: Path) -> sitk.Image:
    """Read a series with SimpleITK, independently of this package."""
    files = sorted(folder.glob("*.dcm"))
    if len(files) == 1:
        return sitk.ReadImage(str(files[0]))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def corners(image: sitk.Image) -> list[tuple[float, ...]]:
    """The eight corners of a volume in LPS mm."""
    size = image.GetSize()
    return [
        image.TransformIndexToPhysicalPoint(
            [(n - 1) * ((k >> axis) & 1) for axis, n in enumerate(size)]
        )
        for k in range(8)
    ]
