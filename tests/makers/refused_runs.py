"""Runs of `monai-ddfm fuse` that must be refused, and volumes for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from run_cases import command, one_sentence

from monai_ddfm.apps.demo import DemoSubject


def refusing(
    pet: DemoSubject, folder: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """A function that runs `monai-ddfm fuse` with options that must be refused.

    It sees to it that nothing is written to the folder, and returns the sentence.
    """

    def run(**options: object) -> str:
        before = everything_in(folder)
        settings: dict[str, object] = {
            "fixed": pet.fixed,
            "moving": pet.moving,
            "modality": "PET",
            "output-dir": folder / "parent" / "out",
            "steps": 1,
            "registration": "none",
            "device": "cpu",
        }
        settings |= {name.replace("_", "-"): value for name, value in options.items()}
        flags = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in settings.items()
            if value is not None
        ]
        status, out, err = command(capfd, "fuse", *flags)
        assert status == 2
        assert out == ""
        assert everything_in(folder) == before
        return one_sentence(err)

    return run


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def head(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((12, 12, 12), np.float32)


def nifti(path: Path, data: NDArray[Any], affine: NDArray[np.float64] | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def with_nan(folder: Path) -> Path:
    data = head()
    data[3, 4, 5] = np.nan
    return nifti(folder / "nan.nii.gz", data)
