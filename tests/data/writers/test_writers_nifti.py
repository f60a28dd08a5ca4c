"""NIfTI files lie where the MRI lies, for every reader."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd
from scipy.spatial.transform import Rotation

from monai_ddfm.data.writers.nifti import write_nifti
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume

SHAPE = (5, 6, 7)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rigid(
    angles=(10, -20, 35), spacing=(0.9, 1.1, 3.0), shift=(-80.5, 12.0, 33.25), axes=(0, 1, 2)
):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, :3] = affine[:3, axes]
    affine[:3, 3] = shift
    return affine


def volume(channels: int | None = None) -> np.ndarray:
    shape = SHAPE if channels is None else (channels, *SHAPE)
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def save_mri(path, *, qform, sform, codes):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_qform(qform, codes[0])
    header.set_sform(sform, codes[1])
    header.set_data_dtype(np.int16)
    affine = header.get_best_affine()
    nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(SHAPE), affine, header).to_filename(path)
    return nib.load(path)


def itk_affine(image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return TO_LPS @ affine


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_scalars_are_read_back_alike_by_nibabel_and_itk(tmp_path, name):
    affine, data = rigid(), volume() * 3000 - 1000
    write_nifti(tmp_path / name, data, affine, description="CT", display_range=(-1000, 2000))
    image = nib.load(tmp_path / name)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), data)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), affine, atol=1e-5)
    assert (image.header["qform_code"], image.header["sform_code"]) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (image.header["cal_min"], image.header["cal_max"]) == (-1000, 2000)
    assert bytes(image.header["descrip"]).rstrip(b"\0").decode() == (
        "CT; research use only - not for diagnosis"
    )
    read = sitk.ReadImage(str(tmp_path / name))
    assert read.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).transpose(2, 1, 0), data)
    np.testing.assert_allclose(itk_affine(read), affine, atol=1e-4)


def test_colors_are_rgb24_for_nibabel_and_itk(tmp_path):
    affine, data = rigid(), volume(3)
    data[:, 0, 0, 0] = (1.2, -0.1, 0.5)
    write_nifti(tmp_path / "x.nii.gz", data, affine)
    expected = np.rint(np.clip(data, 0, 1) * 255).astype(np.uint8)
    image = nib.load(tmp_path / "x.nii.gz")
    assert image.header["datatype"] == 128
    assert image.shape == SHAPE
    raw = np.asarray(image.dataobj)
    np.testing.assert_array_equal(np.stack([raw[c] for c in "RGB"]), expected)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    read = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    assert read.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).transpose(3, 2, 1, 0), expected)
    np.testing.assert_allclose(itk_affine(read), affine, atol=1e-4)


def test_bytes_are_written_as_colors_without_change(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    write_nifti(tmp_path / "x.nii.gz", torch.from_numpy(data), np.eye(4))
    read = LoadVolume()(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(read.numpy(), data)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    shift=st.tuples(*[st.floats(-300, 300)] * 3),
    axes=st.sampled_from(list(itertools.permutations(range(3)))),
)
def test_any_placement_is_kept(tmp_path, angles, spacing, shift, axes):
    affine = rigid(angles, spacing, shift, axes)
    write_nifti(tmp_path / "x.nii", volume(), affine)
    np.testing.assert_allclose(nib.load(tmp_path / "x.nii").affine, affine, atol=1e-3)
    read = sitk.ReadImage(str(tmp_path / "x.nii"))
    np.testing.assert_allclose(itk_affine(read), affine, atol=1e-3)


@pytest.mark.parametrize("codes", [(1, 1), (1, 4), (0, 2), (1, 0), (3, 2), (0, 0)])
def test_the_header_forms_of_the_mri_are_copied(tmp_path, codes):
    """Also through a data loader, and where qform and sform name different spaces."""
    mri = save_mri(
        tmp_path / "mri.nii.gz",
        qform=rigid(),
        sform=rigid((1, 2, 3), (1.5, 1.5, 2.0), (9, 8, 7)),
        codes=codes,
    )
    loaded = LoadVolume()(tmp_path / "mri.nii.gz")
    (case,) = decollate_batch(next(iter(DataLoader(Dataset([{"mri": loaded}])))))
    write_nifti(tmp_path / "x.nii.gz", loaded, loaded.affine, template=loaded.meta)
    write_nifti(tmp_path / "y.nii.gz", loaded, loaded.affine, template=case["mri"].meta)
    for name in ("x.nii.gz", "y.nii.gz"):
        written = nib.load(tmp_path / name)
        np.testing.assert_array_equal(written.affine, mri.affine)
        for field in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "qoffset_x"):
            np.testing.assert_array_equal(written.header[field], mri.header[field], err_msg=field)
        first, second = (sitk.ReadImage(str(tmp_path / n)) for n in ("mri.nii.gz", name))
        np.testing.assert_array_equal(itk_affine(first), itk_affine(second))


def test_another_grid_keeps_both_spaces(tmp_path):
    """A voxel of the new grid names the same anatomy in the space of either form."""
    scanner, atlas = rigid(), rigid((1, 2, 3), (1.5, 1.5, 2.0), (9, 8, 7))
    save_mri(tmp_path / "mri.nii.gz", qform=scanner, sform=atlas, codes=(1, 4))
    meta = LoadVolume()(tmp_path / "mri.nii.gz").meta
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    half[:3, 3] = -0.25
    write_nifti(tmp_path / "x.nii.gz", volume(), atlas @ half, template=meta)
    header = nib.load(tmp_path / "x.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == (1, 4)
    np.testing.assert_allclose(header.get_sform(), atlas @ half, atol=1e-4)
    np.testing.assert_allclose(header.get_qform(), scanner @ half, atol=1e-4)


def test_the_grid_of_a_reoriented_mri(tmp_path):
    save_mri(tmp_path / "mri.nii.gz", qform=rigid(), sform=rigid(), codes=(1, 0))
    steps = [LoadImaged("mri"), EnsureChannelFirstd("mri"), Orientationd("mri", "RAS", labels=None)]
    mri = Compose(steps)({"mri": tmp_path / "mri.nii.gz"})["mri"]
    write_nifti(tmp_path / "x.nii.gz", mri, mri.affine, template=mri.meta)
    written = nib.load(tmp_path / "x.nii.gz")
    np.testing.assert_allclose(written.affine, mri.affine, atol=1e-4)
    assert (written.header["qform_code"], written.header["sform_code"]) == (1, 0)


def test_a_shear_stands_in_the_sform_alone(tmp_path):
    sheared = rigid()
    sheared[0, 1] += 0.5
    write_nifti(tmp_path / "x.nii.gz", volume(), sheared)
    header = nib.load(tmp_path / "x.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == (0, 1)
    np.testing.assert_allclose(header.get_sform(), sheared, atol=1e-5)


def test_metadata_as_itk_gives_it(tmp_path):
    template = {"qform_code": "2", "sform_code": "3", "pixdim": "1 1 1", "srow_x": "1 0 0 0"}
    write_nifti(tmp_path / "x.nii.gz", volume(), rigid(), template=template)
    header = nib.load(tmp_path / "x.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == (2, 3)
    np.testing.assert_allclose(header.get_best_affine(), rigid(), atol=1e-5)


def test_a_long_description_does_not_push_the_notice_out(tmp_path):
    write_nifti(tmp_path / "x.nii", volume(), np.eye(4), description="überlang " * 20)
    raw = bytes(nib.load(tmp_path / "x.nii").header["descrip"])
    assert len(raw.rstrip(b"\0")) < 80
    assert raw.rstrip(b"\0").endswith(b"; research use only - not for diagnosis")


def test_equal_volumes_give_equal_bytes(tmp_path):
    for name in ("x.nii.gz", "y.nii.gz"):
        write_nifti(tmp_path / name, MetaTensor(volume(1)), rigid())
    assert (tmp_path / "x.nii.gz").read_bytes() == (tmp_path / "y.nii.gz").read_bytes()


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6, 7), (1, 1, 5, 6, 7)])
def test_other_shapes_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="expected"):
        write_nifti(tmp_path / "x.nii.gz", np.zeros(shape), np.eye(4))


def test_other_suffixes_and_broken_colors_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must end in"):
        write_nifti(tmp_path / "x.img", volume(), np.eye(4))
    with pytest.raises(ValueError, match="finite"):
        write_nifti(tmp_path / "x.nii.gz", np.full((3, *SHAPE), np.nan), np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no.x\.nii\.gz"):
        write_nifti(tmp_path / "no" / "x.nii.gz", volume(), np.eye(4))
