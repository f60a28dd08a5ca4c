"""Sources come back as they were, interpolated once; masks find their place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, CopyItemsd

from monai_ddfm.data.transform_files import read_transform
from monai_ddfm.errors import InputError, find_input_error
from monai_ddfm.transforms.grid import ChooseGridd, RestoreGridd, ToCanonicald
from monai_ddfm.transforms.intensity import NormalizeByModalityd
from monai_ddfm.transforms.loading import LoadVolumed
from monai_ddfm.transforms.registration import RegisterVolumesd
from monai_ddfm.transforms.sources import LoadReferenceMaskd, RestoreSourcesd

SHAPES = {"fixed": (30, 34, 14), "moving": (22, 24, 20)}


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    """An oblique MRI with its axes in another order, a PET, and the transform between them."""
    rng = np.random.default_rng(0)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.05, 0.2, (3, -2, 4))
    oblique = np.eye(4)
    oblique[:3, :3] = np.reshape(turn.GetMatrix(), (3, 3)) @ np.diag([2.0, 2.0, 5.0])
    oblique = oblique[:, [1, 0, 2, 3]]
    oblique[:3, 3] = (-30, -32, -33)
    straight = np.diag([3.0, 3.0, 4.0, 1.0])
    straight[:3, 3] = (-34, -36, -38)
    paths = {}
    for name, affine in (("fixed", oblique), ("moving", straight)):
        path = tmp_path / f"{name}.nii.gz"
        data = rng.uniform(0, 1000, SHAPES[name]).astype(np.float32)
        nib.save(nib.Nifti1Image(data, affine), path)
        paths[name] = str(path)
    paths["transform"] = str(tmp_path / "transform.tfm")
    sitk.WriteTransform(turn, paths["transform"])
    return paths


def prepared(pair: dict[str, str], *, spacing: float | None, **mask: Any) -> dict[str, Any]:
    """The case when it has been registered, through MONAI's collate and decollate functions."""
    register = RegisterVolumesd(method=pair["transform"], refuse=False)
    case = Compose(
        [
            LoadVolumed(modality=["MR", "PET"]),
            CopyItemsd(["fixed", "moving"], names=["fixed_source", "moving_source"]),
            ToCanonicald("fixed"),
            ChooseGridd("fixed", spacing=spacing),
            register,
            LoadReferenceMaskd(**mask),
        ]
    )({name: pair[name] for name in ("fixed", "moving")})
    case["fused"] = case["moving"].clone()
    item: dict[str, Any] = decollate_batch(list_data_collate([case]))[0]
    return item


@pytest.mark.parametrize("spacing", [None, 2.5])
def test_moving_is_interpolated_once_and_fixed_not_at_all(
    pair: dict[str, str], spacing: float | None
) -> None:
    case = prepared(pair, spacing=spacing)
    case = RestoreSourcesd()(RestoreGridd("fused")(case))
    image = nib.load(pair["fixed"])
    assert torch.equal(case["fixed"][0].as_tensor(), torch.from_numpy(image.get_fdata()).float())
    for name in ("fixed", "moving", "fused"):
        np.testing.assert_allclose(case[name].affine, image.affine, atol=1e-5)
        assert case[name].shape == (1, *image.shape)
    assert not {"fixed_source", "moving_source"} & set(case)

    reference = sitk.Resample(
        sitk.ReadImage(pair["moving"], sitk.sitkFloat32),
        sitk.ReadImage(pair["fixed"]),
        read_transform(pair["transform"]),
        sitk.sitkLinear,
        0.0,
    )
    once = sitk.GetArrayFromImage(reference).transpose(2, 1, 0)
    np.testing.assert_allclose(case["moving"][0].numpy(), once, atol=0.05)
    twice = np.abs(case["fused"][0].numpy() - once).max()
    assert (twice > 50) == (spacing is not None)  # what has lain on another grid in between
    assert "registration" in str(case["moving"].meta)


def test_a_thousand_random_points_have_the_values_of_the_source(pair: dict[str, str]) -> None:
    """Values at voxels of the result, against an interpolation written down for this test."""
    case = RestoreSourcesd()(RestoreGridd("fused")(prepared(pair, spacing=3.0)))
    result, source = case["moving"][0].numpy(), nib.load(pair["moving"])
    voxels = source.get_fdata()
    transform = read_transform(pair["transform"])
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    to_lps = flip @ case["moving"].affine.numpy()
    to_voxel = np.linalg.inv(flip @ source.affine)
    rng = np.random.default_rng(1)
    checked = 0
    for index in rng.integers(0, SHAPES["fixed"], size=(6000, 3)):
        place = transform.TransformPoint((to_lps @ [*index, 1])[:3].tolist())
        there = (to_voxel @ [*place, 1])[:3]
        if (there < 0).any() or (there > np.array(voxels.shape) - 1.001).any():
            continue
        low, share = np.floor(there).astype(int), there - np.floor(there)
        value = sum(
            math.prod(np.where(corner, share, 1 - share)) * voxels[tuple(low + corner)]
            for corner in map(np.array, np.ndindex(2, 2, 2))
        )
        assert result[tuple(index)] == pytest.approx(value, abs=0.05)
        checked += 1
        if checked == 1000:
            break
    assert checked == 1000


def test_a_mask_may_be_drawn_on_either_volume(pair: dict[str, str], tmp_path: Path) -> None:
    names = {}
    for name in ("fixed", "moving"):
        image = nib.load(pair[name])
        data = np.zeros(image.shape, np.uint8)
        data[tuple(slice(n // 3, n // 2) for n in image.shape)] = 7
        names[name] = tmp_path / f"{name}_mask.nii.gz"
        nib.save(nib.Nifti1Image(data, image.affine), names[name])
    on_fixed = prepared(pair, spacing=None, path=names["fixed"])
    restored = RestoreGridd("reference_mask")(on_fixed)["reference_mask"]
    drawn = nib.load(names["fixed"]).get_fdata() > 0
    np.testing.assert_array_equal(restored[0].numpy() > 0, drawn)

    on_moving = prepared(pair, spacing=None, path=names["moving"])
    report = on_moving["moving"].meta["ddfm_report_reference_mask"]
    assert '"drawn_on": "moving"' in report
    normalize = NormalizeByModalityd(
        "moving", "SPECT", window="cerebellum", mask_key="reference_mask"
    )
    normalize(on_moving)
    mask = on_moving["reference_mask"] > 0
    reference = sitk.Resample(
        sitk.ReadImage(str(names["moving"]), sitk.sitkUInt8),
        sitk.ReadImage(pair["fixed"]),
        read_transform(pair["transform"]),
        sitk.sitkNearestNeighbor,
    )
    assert int(mask.sum()) == np.count_nonzero(sitk.GetArrayViewFromImage(reference))


def test_a_mask_elsewhere_is_refused(pair: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.nii.gz"
    data = np.zeros((9, 9, 9), np.uint8)
    data[4:] = 1
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    with pytest.raises(RuntimeError) as caught:
        prepared(pair, spacing=None, path=path)
    assert f"{path} lies neither on the grid of {pair['fixed']}" in str(
        find_input_error(caught.value)
    )
    with pytest.raises(InputError, match="does not exist"):
        LoadReferenceMaskd(tmp_path / "gone.nii.gz")


def test_a_mask_without_its_window_is_refused() -> None:
    volume = MetaTensor(torch.rand(1, 4, 4, 4))
    case = {"moving": volume, "mask": torch.ones(1, 4, 4, 4)}
    with pytest.raises(InputError, match="add --window cerebellum"):
        NormalizeByModalityd("moving", "SPECT", mask_key="mask")(case)
