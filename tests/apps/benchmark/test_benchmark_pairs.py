"""Pairs for the benchmark: found by folder and name, and taken as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_ddfm.apps.benchmark import Pair, find_pairs, load_case
from monai_ddfm.errors import InputError


def test_pictures_are_found_by_folder_and_name(pictures: Path) -> None:
    pairs = find_pairs(pictures)
    assert [(p.modality, p.name) for p in pairs] == [("CT", "c"), ("PET", "a"), ("PET", "b")]
    assert pairs[1].fixed == pictures / "MRI-PET" / "MRI" / "a.png"
    assert pairs[1].moving == pictures / "MRI-PET" / "PET" / "a.png"
    assert all(pair.is_picture for pair in pairs)
    assert [p.name for p in find_pairs(pictures, limit=1)] == ["c", "a"]
    assert [p.name for p in find_pairs(pictures / "MRI-PET")] == ["a", "b"]


def test_volumes_and_dicom_folders_are_found(tmp_path: Path) -> None:
    for name in ("one/t1.nii.gz", "one/pet_moved.nii.gz", "one/truth.tfm", "two/MRI/1.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "two" / "CT").mkdir()
    pairs = find_pairs(tmp_path)
    assert pairs == [
        Pair(
            name="one",
            modality="PET",
            fixed=tmp_path / "one" / "t1.nii.gz",
            moving=tmp_path / "one" / "pet_moved.nii.gz",
        ),
        Pair(
            name="two",
            modality="CT",
            fixed=tmp_path / "two" / "MRI",
            moving=tmp_path / "two" / "CT",
        ),
    ]
    assert not any(pair.is_picture for pair in pairs)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ((), "holds no pairs"),
        (("MRI/a.png", "PET/a.png", "PET/b.png"), "b.png has no partner"),
        (("mri.nii.gz", "t1.nii.gz", "pet.nii.gz"), "may both be meant"),
    ],
)
def test_folders_without_clear_pairs_are_refused(
    tmp_path: Path, made: tuple[str, ...], words: str
) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        find_pairs(tmp_path)


def test_pictures_are_taken_as_they_are(pictures: Path) -> None:
    ct, pet, _ = (load_case(pair) for pair in find_pairs(pictures))
    levels = np.asarray(Image.open(pictures / "MRI-CT" / "CT" / "c.png")) / 255
    np.testing.assert_allclose(ct.image[0, 1], levels, atol=1e-6)
    rgb = np.asarray(Image.open(pictures / "MRI-PET" / "PET" / "a.png")) / 255
    np.testing.assert_allclose(pet.image[0, 1], rgb @ [0.299, 0.587, 0.114], atol=1e-6)
    source = pet.colored_source()
    assert source is not None
    np.testing.assert_allclose(source, np.moveaxis(rgb, -1, 0), atol=1e-6)
    assert ct.colored_source() is None
