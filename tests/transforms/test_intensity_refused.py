"""Volumes that cannot be normalized are refused in one sentence; odd ones that can be are not."""

from __future__ import annotations

import pytest
import torch
from head_phantom import volume
from monai.data import MetaTensor

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.intensity import NormalizeByModality


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("value", [0.0, 7.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_volume_is_refused(modality, value, channels):
    scan = volume(torch.full((channels, 6, 6, 6), value), "/data/pet scan ü.nii")
    with pytest.raises(InputError, match=rf"/data/pet scan ü.nii is {value:g} in every voxel; "):
        NormalizeByModality(modality)(scan)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_volume_is_refused(value):
    values = torch.rand(4, 4, 4)
    values[1, 2, 3] = value
    with pytest.raises(InputError, match=r"scan.nii.gz has NaN or infinite voxels"):
        NormalizeByModality("PET")(volume(values))


def test_no_contrast_inside_the_window_is_refused():
    air = volume(torch.linspace(-1000, -900, 64).reshape(4, 4, 4))
    with pytest.raises(InputError, match=r"scan.nii.gz has no contrast between 0 and 80.*another"):
        NormalizeByModality("CT", window="brain")(air)
    negative = volume(-torch.rand(4, 4, 4) - 1)
    with pytest.raises(InputError, match=r"scan.nii.gz has no intensity inside .*'maximum'"):
        NormalizeByModality("SPECT")(negative)


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (1, 4), (3,), (4, 8, 8)])
def test_wrong_shape_is_refused(shape):
    with pytest.raises(InputError, match="one channel or RGB"):
        NormalizeByModality("PET")(MetaTensor(torch.rand(shape)))


def test_colors_beyond_16_bits_are_refused():
    with pytest.raises(InputError, match=r"scan.nii.gz has RGB values up to 100000"):
        NormalizeByModality("PET")(volume(torch.linspace(0, 1e5, 24).reshape(3, 2, 2, 2)))


def test_a_few_bright_voxels_in_an_empty_volume_are_kept():
    values = torch.zeros(40, 40, 10)
    values[20, 20, 5], values[21, 20, 5] = 3.0, 6.0
    for modality in ("MR", "PET", "SPECT"):
        result = NormalizeByModality(modality)(volume(values))
        assert result[0, 20, 20, 5] == pytest.approx(0.0, abs=0.01)
        assert result[0, 21, 20, 5] == 1
