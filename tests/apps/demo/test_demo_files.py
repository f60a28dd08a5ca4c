"""The demo's subject as files, NIfTI and DICOM: valid, alike, the same for the same seed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from demo_scans import MODALITIES, as_array

from monai_ddfm.apps.demo import DemoSubject, make_demo, write_demo_dicom
from monai_ddfm.apps.demo.modalities import MRI_GRID, rigid_truth
from monai_ddfm.errors import InputError

pytest.importorskip("nilearn")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DemoSubject]:
    folder = tmp_path_factory.mktemp("subject")
    return {m: make_demo(folder, modality=m, seed=3, scale=3.0, dicom=True) for m in MODALITIES}


def test_files_are_named_by_modality_and_placed_twice_alike(
    subjects: dict[str, DemoSubject],
) -> None:
    for modality, subject in subjects.items():
        truth = sitk.ReadTransform(str(subject.truth))
        # A text file keeps 17 digits: the same numbers come back.
        assert truth.GetParameters() == rigid_truth(3, modality).GetParameters()
        for path in (subject.fixed, subject.moving):
            image = nib.load(path)
            assert image.get_qform(coded=True)[1] == 1
            assert image.get_sform(coded=True)[1] == 1
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
            assert "not for diagnosis" in str(image.header["descrip"])
            assert image.header.get_xyzt_units()[0] == "mm"
            assert np.isfinite(image.get_fdata()).all()
    folder = subjects["PET"].fixed.parent
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]
    assert subjects["CT"].moving.name == "ct.nii.gz"
    assert subjects["SPECT"].truth.name == "spect_to_t1_truth.tfm"
    assert dataclasses.is_dataclass(subjects["PET"])


def test_same_seed_same_bytes(tmp_path: Path, subjects: dict[str, DemoSubject]) -> None:
    again = make_demo(tmp_path, modality="pet", seed=3, scale=3.0, dicom=True)
    first = subjects["PET"]
    assert again.fixed.read_bytes() == first.fixed.read_bytes()
    assert again.moving.read_bytes() == first.moving.read_bytes()
    assert again.truth.read_bytes() == first.truth.read_bytes()
    for a, b in ((again.fixed_dicom, first.fixed_dicom), (again.moving_dicom, first.moving_dicom)):
        names = sorted(p.name for p in a.iterdir())
        assert names == sorted(p.name for p in b.iterdir())
        assert all((a / n).read_bytes() == (b / n).read_bytes() for n in names)


def test_other_seed_other_subject(tmp_path: Path, subjects: dict[str, DemoSubject]) -> None:
    other = make_demo(tmp_path, modality="PET", seed=4, scale=3.0)
    assert other.fixed_dicom is None
    for a, b in ((other.fixed, subjects["PET"].fixed), (other.moving, subjects["PET"].moving)):
        x, y = nib.load(a).get_fdata(), nib.load(b).get_fdata()
        assert x.shape == y.shape
        assert (x != y).mean() > 0.3
    assert other.truth.read_text() != subjects["PET"].truth.read_text()


def read_dicom(folder: Path) -> sitk.Image:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return sitk.ReadImage(names if len(names) > 1 else names[0], sitk.sitkFloat64)


@pytest.mark.parametrize("modality", ["MR", *MODALITIES])
def test_dicom_equals_nifti(modality: str, subjects: dict[str, DemoSubject]) -> None:
    subject = subjects["PET" if modality == "MR" else modality]
    pair = (subject.fixed_dicom, subject.fixed)
    if modality != "MR":
        pair = (subject.moving_dicom, subject.moving)
    series, nifti = read_dicom(pair[0]), sitk.ReadImage(str(pair[1]), sitk.sitkFloat64)
    assert series.GetSize() == nifti.GetSize()
    size = np.array(nifti.GetSize()) - 1
    for corner in np.ndindex(2, 2, 2):
        at = [int(n) for n in size * corner]
        a, b = (i.TransformIndexToPhysicalPoint(at) for i in (series, nifti))
        np.testing.assert_allclose(a, b, atol=0.01)
    a, b = as_array(series), as_array(nifti)
    step = 1.0
    if modality == "PET":
        step = b.max(axis=(0, 1), keepdims=True) / 32767 + 1e-7
    assert np.all(np.abs(a - b) <= 0.5001 * step)


def test_dicom_files_are_one_study_of_one_simulated_patient(
    subjects: dict[str, DemoSubject],
) -> None:
    folders = [subjects["PET"].fixed_dicom, *(s.moving_dicom for s in subjects.values())]
    assert [f.name for f in folders] == ["dicom_mr", "dicom_pet", "dicom_ct", "dicom_nm"]
    series = [[pydicom.dcmread(p) for p in sorted(f.iterdir())] for f in folders]
    every = [d for s in series for d in s]
    assert {str(d.PatientName) for d in every} == {"DEMO^SUBJECT"}
    assert {d.PatientID for d in every} == {"DDFM-DEMO"}
    assert len({d.StudyInstanceUID for d in every}) == 1
    assert len({d.FrameOfReferenceUID for d in every}) == 4
    assert len({d.SeriesInstanceUID for d in every}) == 4
    assert len({d.SOPInstanceUID for d in every}) == len(every)
    assert all(d.SOPInstanceUID.is_valid for d in every)
    assert all("not for diagnosis" in d.SeriesDescription for d in every)
    assert [s[0].Modality for s in series] == ["MR", "PT", "CT", "NM"]
    assert series[3][0].NumberOfFrames == nib.load(subjects["SPECT"].moving).shape[2]


def test_suv_can_be_computed(subjects: dict[str, DemoSubject]) -> None:
    dataset = pydicom.dcmread(next(subjects["PET"].moving_dicom.iterdir()))
    assert dataset.Units == "BQML"
    assert dataset.DecayCorrection == "START"
    injection = dataset.RadiopharmaceuticalInformationSequence[0]
    start, scan = injection.RadiopharmaceuticalStartTime, dataset.SeriesTime
    seconds = (int(scan[:2]) - int(start[:2])) * 3600
    assert injection.RadiopharmaceuticalStartDateTime.startswith(dataset.SeriesDate + start)
    left = injection.RadionuclideTotalDose * 0.5 ** (seconds / injection.RadionuclideHalfLife)
    peak = np.percentile(nib.load(subjects["PET"].moving).get_fdata(), 97)
    # Gray matter takes up glucose at an SUV of some 5 to 10.
    assert 4 < peak * dataset.PatientWeight * 1000 / left < 10


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dicom_is_valid(subjects: dict[str, DemoSubject]) -> None:
    for folder in [subjects["PET"].fixed_dicom, *(s.moving_dicom for s in subjects.values())]:
        for path in sorted(folder.iterdir())[::10]:
            done = subprocess.run(
                ["dciodvfy", str(path)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0
            assert "Error" not in done.stdout + done.stderr, done.stderr


def test_dicom_elsewhere_and_again(tmp_path: Path, subjects: dict[str, DemoSubject]) -> None:
    mr, nm = write_demo_dicom(subjects["SPECT"], tmp_path)
    before = (nm / "IM0001.dcm").read_bytes()
    (mr / "IM9999.dcm").write_bytes(b"left over from a larger subject")
    assert write_demo_dicom(subjects["SPECT"], tmp_path) == (mr, nm)
    assert not (mr / "IM9999.dcm").exists()
    assert (nm / "IM0001.dcm").read_bytes() == before
    (mr / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="dicom_mr holds other things"):
        write_demo_dicom(subjects["SPECT"], tmp_path)
    assert (mr / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_full_size_time_and_memory(tmp_path: Path) -> None:
    code = (
        "import json, resource, sys, time; from monai_ddfm.apps.demo import make_demo;"
        "t = time.time();"
        "s = make_demo(sys.argv[1], modality='PET');"
        "m = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(json.dumps([time.time() - t, m]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    seconds, kilobytes = json.loads(done.stdout)
    assert kilobytes < 1.5e6
    assert seconds < 60  # some 8 s on a quiet machine
    assert nib.load(tmp_path / "t1.nii.gz").shape == MRI_GRID.shape
