"""Results have BIDS names, sidecars and a description of the data set."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_ddfm.data.writers.bids import bids_name, dataset_description, entities_of, write_bids
from monai_ddfm.data.writers.nifti import write_nifti
from monai_ddfm.errors import InputError

NAME = "sub-01_ses-01_trc-FDG_space-T1w_desc-fused_pet"
SOURCES = ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz", "bids:raw:sub-01/pet/sub-01_pet.nii.gz"]


@pytest.fixture
def results(tmp_path):
    paths = {name: tmp_path / name for name in ("fused.nii.gz", "moving_registered.nii.gz")}
    for value, path in enumerate(paths.values()):
        write_nifti(path, np.full((3, 4, 5), float(value)), np.eye(4))
    return paths


def test_entities_stand_in_the_order_of_the_standard():
    labels = {"space": "T1w", "trc": "FDG", "ses": "01"}
    name = bids_name("pet", ".nii.gz", subject="01", description="fused", **labels)
    assert name == f"sub-01/ses-01/pet/{NAME}.nii.gz"
    assert bids_name("ct", ".json", subject="7", description="x", ses="") == (
        "sub-7/ct/sub-7_desc-x_ct.json"
    )


@pytest.mark.parametrize("label", ["0-1", "a b", "../x", "ä", "$x", ""])
def test_labels_are_letters_and_digits(label):
    if label:
        with pytest.raises(InputError, match="letters and digits"):
            bids_name("pet", ".json", subject=label, description="x")
    with pytest.raises(ValueError, match="unknown"):
        bids_name("pet", ".json", subject="1", description="x", color=label)


def test_names_are_read_as_they_are_written():
    assert entities_of(f"/data/{NAME}.nii.gz") == {
        "sub": "01",
        "ses": "01",
        "trc": "FDG",
        "space": "T1w",
        "desc": "fused",
    }
    assert entities_of("pet_moved.nii.gz") == {}


def test_a_data_set_is_complete(results, tmp_path):
    root = tmp_path / "derivatives"
    labels = {"subject": "01", "session": "01", "tracer": "FDG", "units": "SUV"}
    raw = {"source_datasets": ["https://example.org/raw", tmp_path]}
    paths = write_bids(root, results, modality="PET", sources=SOURCES, **labels, **raw)
    folder = root / "sub-01" / "ses-01" / "pet"
    assert paths["fused.nii.gz"] == folder / f"{NAME}.nii.gz"
    assert nib.load(paths["moving_registered.nii.gz"]).get_fdata().max() == 1
    fused = json.loads((folder / f"{NAME}.json").read_text())
    assert fused["Sources"] == SOURCES
    assert fused["SpatialReference"] == SOURCES[0]
    assert fused["Units"] == "arbitrary"
    assert "research use only - not for diagnosis" in fused["Description"]
    registered = json.loads((folder / f"{NAME.replace('fused', 'registered')}.json").read_text())
    assert registered["Units"] == "SUV"
    about = json.loads((root / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "monai-ddfm"
    assert [entry["URL"] for entry in about["SourceDatasets"]] == [
        "https://example.org/raw",
        tmp_path.as_uri(),
    ]
    assert not (root / ".bidsignore").exists()


def test_a_second_subject_joins_the_data_set(results, tmp_path):
    root = tmp_path / "derivatives"
    write_bids(root, results, modality="PET", sources=SOURCES, subject="01")
    (root / "dataset_description.json").write_text(
        json.dumps(dataset_description() | {"Name": "x"})
    )
    write_bids(root, results, modality="CT", sources=SOURCES, subject="02")
    assert json.loads((root / "dataset_description.json").read_text())["Name"] == "x"
    assert (root / ".bidsignore").read_text() == "**/ct/\n**/spect/\n"
    found = {path.relative_to(root).parts[0] for path in root.rglob("*.nii.gz")}
    assert found == {"sub-01", "sub-02"}


def test_a_missing_result_leaves_nothing(results, tmp_path):
    results["moving_registered.nii.gz"].unlink()
    with pytest.raises(InputError):
        write_bids(tmp_path / "new", results, modality="PET", sources=SOURCES, subject="01")
    assert not (tmp_path / "new").exists()
