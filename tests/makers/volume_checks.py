"""What the tests of the readers ask of a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.utils.reports import reports_of

RNG = np.random.default_rng(11)


def noise(*shape: int, high: int = 3000) -> np.ndarray:
    return RNG.integers(1, high, shape or (6, 8, 10), dtype=np.int16)


def refusal(path: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        LoadVolume(**options)(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def notes(volume: MetaTensor) -> str:
    return " ".join(reports_of(volume)["reading"]["notes"])


def corners(affine: torch.Tensor | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.array([[*c, 1.0] for c in np.ndindex(2, 2, 2)])
    index[:, :3] *= np.array(shape[-3:]) - 1
    return (index @ np.asarray(affine).T)[:, :3]


def itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [columns, rows, slices] and the corners in RAS of what ITK reads."""
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        picture = reader.Execute()
    else:
        picture = sitk.ReadImage(str(path))
    size = np.array(picture.GetSize()) - 1
    points = [
        picture.TransformIndexToPhysicalPoint([int(n) for n in np.array(c) * size])
        for c in np.ndindex(2, 2, 2)
    ]
    return sitk.GetArrayFromImage(picture).T, np.array(points) * [-1, -1, 1]


def agrees_with_itk(volume: MetaTensor, path: Path) -> None:
    voxels, points = itk(path)
    np.testing.assert_allclose(volume[0].numpy(), voxels, rtol=1e-6)
    np.testing.assert_allclose(corners(volume.affine, volume.shape), points, atol=0.01)


def load_or_refuse(path: Path, *, named: str, modality: str | None = None) -> None:
    """Damage ends in a sound volume or in one clear sentence; anything else fails the test."""
    try:
        volume = LoadVolume(**{"modality": modality} if modality else {})(path)
    except InputError as error:
        volume, message = None, str(error)
    if volume is None:
        assert named in message
        assert "\n" not in message
    else:
        assert torch.isfinite(volume).all()
        assert torch.isfinite(volume.affine).all()
