"""A run joins a BIDS derivative: labels from file names, sources as BIDS URIs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor

from monai_ddfm.data.writers.bids_output import SaveBidsd
from monai_ddfm.data.writers.nifti import write_nifti
from monai_ddfm.errors import InputError

NAMES = ("fused", "fused_rgb", "weight", "moving_registered")


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Path]:
    """An MRI and a PET with BIDS names in one raw data set."""
    root = tmp_path / "raw data"
    names = {
        "fixed": "sub-07/ses-mr/anat/sub-07_ses-mr_T1w.nii.gz",
        "moving": "sub-07/ses-pet/pet/sub-07_ses-pet_trc-FDG_pet.nii.gz",
    }
    for name in names.values():
        (root / name).parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4)), root / name)
    (root / "dataset_description.json").write_text("{}")
    return {role: root / name for role, name in names.items()}


@pytest.fixture
def case(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "out").mkdir()
    files = {}
    for value, name in enumerate(NAMES):
        path = tmp_path / "out" / f"{name}.nii.gz"
        write_nifti(path, np.full((3, 4, 5), float(value)), np.eye(4))
        files[path.name] = str(path)
    transform = tmp_path / "out" / "transform.tfm"
    transform.write_text("#Insight Transform File V1.0\n")
    files[transform.name] = str(transform)
    moving = MetaTensor(np.zeros((1, 3, 4, 5)), meta={"units": "SUVbw"})
    return {"moving": moving, "outputs": {"files": files}}


def test_labels_and_sources_come_from_the_inputs(
    raw: dict[str, Path], case: dict[str, Any], tmp_path: Path
) -> None:
    root = tmp_path / "derivatives"
    written = SaveBidsd({"root": root}, inputs=raw, modality="PET")(case)["bids"]
    stem = "sub-07/ses-pet/pet/sub-07_ses-pet_trc-FDG_space-T1w_desc-"
    for name, label in zip(NAMES, ("fused", "fusedrgb", "weight", "registered"), strict=True):
        path = root / f"{stem}{label}_pet.nii.gz"
        assert written[f"{name}.nii.gz"] == str(path)
        about = json.loads(path.with_suffix("").with_suffix(".json").read_text())
        assert about["Sources"] == [
            "bids:raw:sub-07/ses-mr/anat/sub-07_ses-mr_T1w.nii.gz",
            "bids:raw:sub-07/ses-pet/pet/sub-07_ses-pet_trc-FDG_pet.nii.gz",
        ]
        assert about["Units"] == {"weight": "1", "registered": "SUVbw"}.get(label, "arbitrary")
        assert about["SHA256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    moved = root / "sub-07/ses-pet/pet/sub-07_ses-pet_from-pet_to-T1w_mode-image_xfm.tfm"
    assert moved.read_text().startswith("#Insight")
    about = json.loads((root / "dataset_description.json").read_text())
    place = (tmp_path / "raw data").as_uri()
    assert about["DatasetLinks"] == {"raw": place}
    assert about["SourceDatasets"] == [{"URL": place}]
    assert about["GeneratedBy"][0]["Name"] == "monai-ddfm"
    assert about["DatasetType"] == "derivative"


def test_given_labels_win_and_other_sources_are_urls(case: dict[str, Any], tmp_path: Path) -> None:
    inputs = {"fixed": tmp_path / "t1.nii.gz", "moving": tmp_path / "ct.nii.gz"}
    options = {"root": tmp_path / "bids", "subject": "1", "session": "a", "space": "orig"}
    written = SaveBidsd(options, inputs=inputs, modality="CT")(case)["bids"]
    path = Path(written["fused.nii.gz"])
    assert path.name == "sub-1_ses-a_space-orig_desc-fused_ct.nii.gz"
    about = json.loads(path.with_suffix("").with_suffix(".json").read_text())
    assert about["Sources"][1] == (tmp_path / "ct.nii.gz").as_uri()
    whole = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert "DatasetLinks" not in whole


def test_two_subjects_are_not_mixed(raw: dict[str, Path], tmp_path: Path) -> None:
    other = raw["moving"].with_name("sub-08_pet.nii.gz")
    raw["moving"].rename(other)
    with pytest.raises(InputError, match="name different subjects"):
        SaveBidsd({"root": tmp_path / "d"}, inputs=raw | {"moving": other}, modality="PET")
    assert not (tmp_path / "d").exists()
