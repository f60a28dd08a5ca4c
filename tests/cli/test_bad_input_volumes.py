"""Volumes that cannot be fused: one sentence that names the file, a status, and nothing written."""

from __future__ import annotations

import itertools
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from refused_runs import head, nifti, with_nan

from monai_ddfm.apps.demo import DemoSubject

Make = Callable[[Path], Path]


def missing(folder: Path) -> Path:
    return folder / "gone.nii.gz"


def no_image_but_named_so(folder: Path) -> Path:
    (folder / "letter.nii.gz").write_text("Dear colleague, please find attached")
    return folder / "letter.nii.gz"


def text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("no image")
    return folder / "notes.txt"


def photograph(folder: Path) -> Path:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "photo.png")
    return folder / "photo.png"


def empty_file(folder: Path) -> Path:
    (folder / "empty.nii").touch()
    return folder / "empty.nii"


def cut_short(folder: Path) -> Path:
    path = nifti(folder / "cut.nii", head())
    path.write_bytes(path.read_bytes()[:2000])
    return path


def flat(folder: Path) -> Path:
    return nifti(folder / "flat.nii.gz", head()[..., 0])


def single_slice(folder: Path) -> Path:
    return nifti(folder / "slice.nii.gz", head()[..., :1])


def no_voxels(folder: Path) -> Path:
    return nifti(folder / "none.nii.gz", head()[:0])


def with_infinity(folder: Path) -> Path:
    data = head()
    data[3, 4, 5] = -np.inf
    return nifti(folder / "inf.nii.gz", data)


def constant(folder: Path) -> Path:
    return nifti(folder / "constant.nii.gz", np.full((12, 12, 12), 7, np.int16))


def zero(folder: Path) -> Path:
    return nifti(folder / "zero.nii.gz", np.zeros((12, 12, 12), np.float32))


def with_sform(path: Path, rows: list[list[float]]) -> Path:
    """A volume whose header says something that no library would write."""
    nifti(path, head())
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, 0, 1)
    struct.pack_into("<12f", content, 280, *np.ravel(rows))
    path.write_bytes(content)
    return path


def singular(folder: Path) -> Path:
    rows = [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    return with_sform(folder / "singular.nii", rows)


def zero_spacing(folder: Path) -> Path:
    rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    return with_sform(folder / "thin.nii", rows)


def nowhere(folder: Path) -> Path:
    rows = [[1.0, 0.0, 0.0, np.nan], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    return with_sform(folder / "nowhere.nii", rows)


def folder_without_images(folder: Path) -> Path:
    (folder / "papers").mkdir()
    (folder / "papers" / "notes.txt").write_text("no image")
    return folder / "papers"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


VOLUMES: dict[Make, str] = {
    missing: "does not exist",
    no_image_but_named_so: "",
    text_file: "not an image",
    photograph: "not an image",
    empty_file: "empty",
    cut_short: "",
    flat: "not a volume",
    single_slice: "not a volume",
    no_voxels: "empty",
    with_nan: "1 NaN",
    with_infinity: "1 infinite",
    constant: "every voxel",
    zero: "every voxel",
    singular: "singular",
    zero_spacing: "measure",
    nowhere: "affine",
    folder_without_images: "",
    empty_folder: "",
}


@pytest.mark.parametrize(
    ("make", "role"),
    list(zip(VOLUMES, itertools.cycle(["fixed", "moving"]), strict=False)),
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_volume_that_cannot_be_fused_is_refused(
    make: Make, role: str, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    path = make(tmp_path)
    said = refuse(**{role: path})
    assert str(path) in said
    assert VOLUMES[make] in said


def test_a_fourth_axis_of_the_mri(tmp_path: Path, refuse: Callable[..., str]) -> None:
    path = nifti(tmp_path / "series.nii.gz", np.stack([head(seed) for seed in range(3)], -1))
    assert str(path) in refuse(fixed=path)


def test_a_volume_of_five_axes_is_refused(tmp_path: Path, refuse: Callable[..., str]) -> None:
    data = np.random.default_rng(0).random((6, 6, 6, 2, 2), np.float32)
    path = nifti(tmp_path / "more.nii.gz", data)
    assert str(path) in refuse(moving=path)


@pytest.mark.parametrize("registration", ["rigid", "none"])
def test_fields_of_view_that_do_not_meet(
    registration: str, tmp_path: Path, pet: DemoSubject, refuse: Callable[..., str]
) -> None:
    volume = nib.load(pet.moving)
    affine = volume.affine.copy()
    affine[:3, 3] += 5000
    path = nifti(tmp_path / "far.nii.gz", np.asarray(volume.dataobj), affine)
    said = refuse(moving=path, registration=registration)
    assert "do not overlap" in said
    assert str(path) in said
    assert str(pet.fixed) in said


def test_one_file_twice(pet: DemoSubject, tmp_path: Path, refuse: Callable[..., str]) -> None:
    assert f"{pet.fixed} is given twice" in refuse(moving=pet.fixed)
    shutil.copy(pet.fixed, tmp_path / "t1.nii.gz")
    assert "given twice" in refuse(fixed="t1.nii.gz", moving=tmp_path / "t1.nii.gz")


def test_a_modality_that_the_header_denies(pet: DemoSubject, refuse: Callable[..., str]) -> None:
    assert str(pet.fixed_dicom) in refuse(moving=pet.fixed_dicom, modality="CT")
