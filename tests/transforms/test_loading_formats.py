"""Volumes from files of every format: values, places, colors, frames, and what is noted of them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from nifti_makers import RNG, SHAPE, itk_corners, oblique, save, save_placed, values
from volume_checks import corners, refusal

from monai_ddfm.transforms.loading import LoadVolume, LoadVolumed
from monai_ddfm.utils.reports import reports_of


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_formats_agree_with_itk_on_values_and_place(tmp_path: Path, ending: str) -> None:
    expected = values()
    path = tmp_path / f"a volume of Jürgen{ending}"
    if "nii" in ending:
        save(path, expected)
    else:
        image = sitk.GetImageFromArray(expected.T)
        image.SetSpacing((1.5, 2.0, 3.0))
        image.SetOrigin((12.5, -7.0, 31.0))
        image.SetDirection(
            (np.diag([-1, -1, 1]) @ oblique()[:3, :3] / [1.5, 2, 3]).ravel().tolist()
        )
        sitk.WriteImage(image, str(path))
    volume = LoadVolume(modality="MR")(str(path))
    assert volume.shape == (1, *SHAPE)
    assert volume.dtype == torch.float32
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    np.testing.assert_allclose(volume.affine, oblique(), atol=1e-5)
    np.testing.assert_allclose(corners(volume.affine, SHAPE), itk_corners(path), atol=0.01)
    assert volume.meta["filename_or_obj"] == str(path)
    assert volume.meta["modality"] == "MR"
    assert json.loads(volume.meta["source_files"]) == [str(path)]


def test_upper_case_ending_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "x.nii.gz", values()).rename(tmp_path / "X.NII.GZ")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LoadVolume()("~/X.NII.GZ").shape == (1, *SHAPE)


def test_integers_are_scaled_by_the_header(tmp_path: Path) -> None:
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    path = tmp_path / "ct.nii"
    save(path, stored)
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        header["scl_slope"], header["scl_inter"] = 2.0, -1024.0
        stream.seek(0)
        header.write_to(stream)
    volume = LoadVolume(modality="CT")(path)
    np.testing.assert_array_equal(volume[0].numpy(), stored * 2.0 - 1024)
    assert volume.meta["units"] == "HU"


def test_codes_and_fields_of_monai_are_kept(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "a.nii.gz", (oblique(), 1), (oblique(), 4))
    meta = LoadVolume()(path).meta
    assert (int(meta["qform_code"]), int(meta["sform_code"])) == (1, 4)
    np.testing.assert_allclose(meta["original_affine"], oblique(), atol=1e-6)
    assert tuple(meta["spatial_shape"]) == SHAPE
    assert str(meta["space"]) == "RAS"
    assert np.isnan(meta["original_channel_dim"])


def test_big_endian_file_collates(tmp_path: Path) -> None:
    expected = values()
    image = nib.Nifti1Image(expected, oblique(), nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "big.nii")
    case = LoadVolumed(keys=("fixed",))({"fixed": tmp_path / "big.nii"})
    back = decollate_batch(list_data_collate([case]))[0]["fixed"]
    np.testing.assert_array_equal(back[0].numpy(), expected)


def test_metadata_and_reports_survive_collation(tmp_path: Path) -> None:
    paths = {k: save(tmp_path / f"{k}.nii.gz", values()) for k in ("fixed", "moving")}
    case = LoadVolumed(modality={"fixed": "MRI", "moving": "PET"})(paths)
    back = decollate_batch(list_data_collate([case]))[0]["moving"]
    assert isinstance(back, MetaTensor)
    assert reports_of(back)["reading"] == reports_of(case["moving"])["reading"]
    assert back.meta["modality"] == "PET"
    assert case["fixed"].meta["modality"] == "MR"
    torch.testing.assert_close(back.affine, case["moving"].affine)


def test_a_freesurfer_volume_keeps_values_and_place(tmp_path: Path) -> None:
    expected = values()
    nib.save(nib.MGHImage(expected, oblique().astype(np.float32)), tmp_path / "brain.mgz")
    case = {"fixed": tmp_path / "brain.mgz"}
    volume = decollate_batch(list_data_collate([LoadVolumed("fixed")(case)]))[0]["fixed"]
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    np.testing.assert_allclose(volume.affine, oblique(), atol=1e-4)


def rgb_bytes() -> np.ndarray:
    return RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["rgb24", "rgba32", "vector", "bytes", "mha", "unit floats"])
def test_colors_are_the_same_however_a_file_stores_them(tmp_path: Path, kind: str) -> None:
    rgb = rgb_bytes()
    path = tmp_path / ("rgb.mha" if kind == "mha" else "rgb.nii.gz")
    if kind.startswith("rgb"):
        names = kind[:-2].upper()
        data = np.zeros(SHAPE, dtype=[(c, "u1") for c in names])
        for i, c in enumerate("RGB"):
            data[c] = rgb[..., i]
        save(path, data)
    elif kind == "vector":
        save(path, rgb[..., None, :], intent_code=1007)
    elif kind == "bytes":
        save(path, rgb)
    elif kind == "unit floats":
        save(path, (rgb / 255).astype(np.float32)[..., None, :])
    else:
        sitk.WriteImage(sitk.GetImageFromArray(rgb.transpose(2, 1, 0, 3), isVector=True), path)
    volume = LoadVolume()(path)
    assert volume.shape == (3, *SHAPE)
    np.testing.assert_allclose(volume.numpy(), np.moveaxis(rgb, -1, 0), atol=1e-3)
    assert volume.meta["units"] == "RGB"


def test_rgb_volume_of_the_atlas(shared: Path) -> None:
    path = shared / "data/aanlib_dev/volume/spect_rgb.nii.gz"
    volume = LoadVolume(modality="SPECT")(path)
    raw = np.asanyarray(nib.load(path).dataobj)[:, :, :, 0]
    np.testing.assert_array_equal(volume.numpy(), np.moveaxis(raw, -1, 0))


@pytest.mark.parametrize(("name", "modality"), [("t1", "MR"), ("pet_moved", "PET")])
def test_real_subject_against_itk(shared: Path, name: str, modality: str) -> None:
    path = shared / f"data/mr_pet_subject/{name}.nii.gz"
    volume = LoadVolume(modality=modality)(path)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    np.testing.assert_allclose(corners(volume.affine, volume.shape), itk_corners(path), atol=0.01)


def test_singleton_fourth_axis(tmp_path: Path) -> None:
    expected = values()
    volume = LoadVolume(modality="MR")(save(tmp_path / "a.nii", expected[..., None]))
    np.testing.assert_array_equal(volume[0].numpy(), expected)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_dynamic_pet_is_averaged_or_chosen(tmp_path: Path, ending: str) -> None:
    frames = RNG.normal(5, 1, (*SHAPE, 4)).astype(np.float32)
    path = tmp_path / f"dyn{ending}"
    if ending == ".nrrd":
        sitk.WriteImage(sitk.GetImageFromArray(frames.T, isVector=False), str(path))
    else:
        save(path, frames)
    mean = LoadVolume(modality="PET")(path)
    np.testing.assert_allclose(mean[0].numpy(), frames.mean(-1), rtol=1e-5)
    assert reports_of(mean)["reading"]["frames"]["used"] == [0, 1, 2, 3]
    some = LoadVolume(modality="PET", frames=[3, 1])(path)
    np.testing.assert_allclose(some[0].numpy(), frames[..., [1, 3]].mean(-1), rtol=1e-5)
    echo = LoadVolume(modality="MR", frames=[2])(path)
    np.testing.assert_array_equal(echo[0].numpy(), frames[..., 2])
    assert "4-D" in refusal(path, modality="MR")
    assert "4-D" in refusal(path)
    assert "frames 0 to 3" in refusal(path, modality="PET", frames=[4])
    assert "frames 0 to 3" in refusal(path, modality="PET", frames=[-1])
    assert "frames 0 to 3" in refusal(path, modality="PET", frames=[])


def test_frames_of_a_still_volume_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "still.nii", values())
    assert "single time frame" in refusal(path, modality="PET", frames=[1])


def test_meters_become_millimetres(tmp_path: Path) -> None:
    affine = oblique()
    affine[:3] /= 1000
    image = nib.Nifti1Image(values(), affine)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    np.testing.assert_allclose(LoadVolume()(tmp_path / "m.nii").affine, oblique(), atol=1e-4)


def test_sform_stands_against_pixdim_and_disagreement_is_reported(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "a.nii", (np.eye(4), 1), (np.diag([2.0, 2, 2, 1]), 1))
    volume = LoadVolume()(path)
    np.testing.assert_array_equal(volume.affine, np.diag([2.0, 2, 2, 1]))
    assert "disagree" in reports_of(volume)["reading"]["notes"][0]


def test_unknown_placement_is_reported(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "a.nii", (None, 0), (None, 0))
    assert "does not place" in reports_of(LoadVolume()(path))["reading"]["notes"][0]


def test_ct_that_was_never_rescaled_is_remarked_on(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii", np.abs(values()))
    notes = reports_of(LoadVolume(modality="CT")(path))["reading"]["notes"]
    assert "Hounsfield" in notes[0]
