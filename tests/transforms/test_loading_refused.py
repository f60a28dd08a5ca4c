"""Files that are no sound volume, and options that cannot be, end in one clear sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_makers import RNG, SHAPE, save, values
from volume_checks import refusal

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume, LoadVolumed


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nothing.nii.gz")
    for name in ("empty.nii.gz", "empty.dcm", "empty.mha"):
        (tmp_path / name).touch()
        assert "empty file" in refusal(tmp_path / name)
    for name in ("text.nii.gz", "text.nii", "text.mha", "text.nrrd", "text.mgz", "text.dcm"):
        (tmp_path / name).write_text("this is no image\n" * 50)
        assert name in refusal(tmp_path / name)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n" + bytes(500))
    assert "picture.png" in refusal(tmp_path / "picture.png")
    assert "does not exist" in refusal("a\0b.nii")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "folder" in refusal(folder)
    (folder / "readme.txt").write_text("hello")
    save(folder / "a.nii.gz", values())
    assert "a.nii.gz" in refusal(folder)


@pytest.mark.parametrize("keep", [10, 200, 500, -40])
def test_a_file_that_ends_too_early_is_named(tmp_path: Path, keep: int) -> None:
    whole = save(tmp_path / "a.nii.gz", values()).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[:keep])
    assert "cut.nii.gz" in refusal(tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii").write_bytes(gzip.decompress(whole)[:keep])
    assert "cut.nii" in refusal(tmp_path / "cut.nii")
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "a.mha"))
    whole = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(whole[:keep])
    assert "cut.mha" in refusal(tmp_path / "cut.mha")


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((6, 7), "not a volume"),
        ((6, 7, 1), "not a volume"),
        ((6, 1, 7), "not a volume"),
        ((6, 7, 0), "empty"),
        ((6, 7, 5, 2, 2), "axes"),
        ((6, 7, 5, 1, 4, 2), "axes"),
    ],
)
def test_a_picture_or_too_many_axes_is_no_volume(
    tmp_path: Path, shape: tuple[int, ...], word: str
) -> None:
    path = save(tmp_path / "a.nii", RNG.normal(size=shape).astype(np.float32))
    assert word in refusal(path, modality="PET")


def test_wrong_shapes_in_mha(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mha")
    sitk.WriteImage(sitk.GetImageFromArray(values()[0]), path)
    assert "not a volume" in refusal(path)
    sitk.WriteImage(sitk.GetImageFromArray(RNG.normal(size=(4, 5, 6, 2)), isVector=True), path)
    assert "2 values per voxel" in refusal(path)


def test_nan_and_infinite_voxels_are_counted(tmp_path: Path) -> None:
    array = values()
    array[0, 0, :3] = np.nan
    array[1, 1, 1] = np.inf
    message = refusal(save(tmp_path / "a.nii", array))
    assert "3 NaN" in message
    assert "1 infinite" in message
    too_large = save(tmp_path / "b.nii", np.full(SHAPE, 1e300) * values())
    assert "infinite" in refusal(too_large)


def test_constant_and_zero_images(tmp_path: Path) -> None:
    assert "is zero" in refusal(save(tmp_path / "a.nii", np.zeros(SHAPE)), modality="PET")
    assert "is 4.5" in refusal(save(tmp_path / "a.nii", np.full(SHAPE, 4.5)))


def test_complex_values_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", (values() + 1j * values()).astype(np.complex64))
    assert "complex" in refusal(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (((0, 0), 0.0), "cannot be"),
        (((0, 3), np.nan), "finite"),
        (((0, 1), 0.2), "sheared"),
        (((2, 2), 5000.0), "cannot be"),
        (((0, slice(0, 3)), 0.0), "singular"),
    ],
)
def test_broken_affines(tmp_path: Path, change: tuple, word: str) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    if word == "singular":
        affine[:3, :3] = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    else:
        affine[change[0]] = change[1]
    path = save(tmp_path / "a.nii", values(), np.eye(4))
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
        header["sform_code"] = 1
        stream.seek(0)
        stream.write(header.binaryblock)
    assert word in refusal(path)


def test_zero_voxel_size_without_sform(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values(), np.eye(4))
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream, check=False)
        header["sform_code"], header["qform_code"], header["pixdim"][3] = 0, 0, 0.0
        stream.seek(0)
        stream.write(header.binaryblock)
    assert "size of zero" in refusal(path)


def test_absurd_size_is_refused_before_reading(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values())
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream, check=False)
        header["dim"][1:4] = 30000
        stream.seek(0)
        stream.write(header.binaryblock)
    assert "more than can be worked on" in refusal(path)


def test_impossible_hounsfield_units(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values() * 1e6)
    assert "Hounsfield" in refusal(path, modality="CT")


def test_unknown_modality_and_options() -> None:
    with pytest.raises(InputError, match="X-ray"):
        LoadVolume(modality="X-ray")
    with pytest.raises(InputError, match="no keys"):
        LoadVolumed(keys=("fixed",), modality={"moving": "PET"})
    with pytest.raises(InputError, match="one value"):
        LoadVolumed(keys=("fixed", "moving"), modality=["PET"])


def test_a_file_that_may_not_be_opened_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values())
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        assert "cannot be opened" in refusal(path)
    else:
        pytest.skip("this user may read everything")
    finally:
        path.chmod(0o600)
