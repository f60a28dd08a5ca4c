"""The DICOM objects of a run are valid, whatever its sources lack."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_fusions import demo_case, errors_of, fusion_case, read_series
from dicom_objects import MODALITIES, array, every, objects, written

from monai_ddfm.data.writers.dicom import SaveFusionDicomd


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_object_has_an_error(modality):
    files = objects(written(modality))
    roles = {file.parent.name for file in files}
    assert roles >= {"fused", "moving_registered", "weight", "registration", "presentation"}
    assert errors_of(_sample(files)) == {}


@pytest.mark.parametrize("modality", ["PET", "SPECT"])
def test_no_object_of_nifti_volumes_has_an_error(modality):
    files = objects(written(modality, "nifti"))
    assert {file.parent.name for file in files} >= {"fixed", "fused", "presentation"}
    assert errors_of(_sample(files)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dicom", "nifti"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_every_single_object_is_without_error(modality, form):
    files = objects(written(modality, form))
    depth = array(demo_case(modality, form), "fused").shape[1]
    # NM is one object of many frames; a registration leads from one frame of reference to another.
    expected = {"fused": depth, "weight": 1, "presentation": 1}
    expected["moving_registered"] = 1 if modality == "SPECT" else depth
    expected |= {} if modality == "CT" else {"fused_rgb": depth}
    expected |= {"fixed": depth} if form == "nifti" else {"registration": 1}
    assert Counter(file.parent.name for file in files) == expected
    assert errors_of(files) == {}


@pytest.mark.slow
def test_tinted_bone_is_written_in_color():
    folder = written("CT", "dicom", True)
    assert errors_of(_sample(objects(folder / "fused_rgb"))) == {}
    shown = sitk.GetArrayFromImage(read_series(folder / "fused_rgb"))
    rgb = np.moveaxis(array(demo_case("CT", bone_tint=True), "fused_rgb"), 0, -1)
    np.testing.assert_allclose(shown / 255, rgb, atol=0.5 / 255 + 1e-6)


def test_a_source_that_lacks_most_tags_gives_valid_objects(shared, tmp_path):
    subject = shared / "data" / "mr_pet_subject"
    case = fusion_case(subject / "dicom_mr", subject / "dicom_pet", modality="PET")
    SaveFusionDicomd(tmp_path, modality="PET")(case)
    assert errors_of(_sample(objects(tmp_path))) == {}
    source = pydicom.dcmread(subject / "dicom_mr" / "001.dcm")
    for dataset in every(tmp_path / "dicom"):
        assert (dataset.PatientID, dataset.PatientName) == (source.PatientID, source.PatientName)
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
    moved = sitk.GetArrayFromImage(read_series(tmp_path / "dicom" / "moving_registered"))
    expected = array(case, "moving")[0]
    np.testing.assert_allclose(moved, expected, atol=float(np.ptp(expected)) / 65535)


def _sample(files: list[Path]) -> list[Path]:
    """The first, a middle and the last object of every series."""
    series: dict[Path, list[Path]] = {}
    for file in files:
        series.setdefault(file.parent, []).append(file)
    return sorted({s[k] for s in series.values() for k in (0, len(s) // 2, -1)})
