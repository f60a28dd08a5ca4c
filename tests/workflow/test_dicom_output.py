"""The option ``--format`` through the whole pipeline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pydicom
import pytest

from monai_ddfm import fuse
from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.cli import main
from monai_ddfm.errors import InputError

pytest.importorskip("highdicom")


def test_both_formats_from_dicom(pet: DemoSubject, prior: Path, tmp_path: Path) -> None:
    assert pet.fixed_dicom is not None
    assert pet.moving_dicom is not None
    result = fuse(
        pet.fixed_dicom,
        pet.moving_dicom,
        modality="PET",
        output_dir=tmp_path / "out",
        steps=1,
        format="both",
        registration="none",
        prior=prior,
    )
    folder = result.output_dir / "dicom"
    assert (result.output_dir / "fused.nii.gz").is_file()
    index = json.loads((folder / "index.json").read_text())
    assert index
    source = pydicom.dcmread(next(pet.fixed_dicom.glob("*.dcm")))
    fused = [pydicom.dcmread(path) for path in (folder / "fused").glob("*.dcm")]
    assert len(fused) == len(list(pet.fixed_dicom.glob("*.dcm")))
    assert {one.PatientID for one in fused} == {source.PatientID}
    assert {one.StudyInstanceUID for one in fused} == {source.StudyInstanceUID}
    assert {one.FrameOfReferenceUID for one in fused} == {source.FrameOfReferenceUID}
    assert all("research use only" in one.SeriesDescription.lower() for one in fused)


def test_dicom_alone_from_nifti(pet: DemoSubject, prior: Path, tmp_path: Path) -> None:
    result = fuse(
        pet.fixed,
        pet.moving,
        modality="PET",
        output_dir=tmp_path / "out",
        steps=1,
        format="dicom",
        registration="none",
        prior=prior,
        deidentify=True,
    )
    names = {path.name for path in result.output_dir.iterdir()}
    assert names == {"dicom", "preview.png", "report.html", "provenance.json", "transform.tfm"}
    assert result.provenance["options"]["format"] == "dicom"


def test_an_unknown_format_is_refused(pet: DemoSubject, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'analyze' is unknown"):
        fuse(
            pet.fixed,
            pet.moving,
            modality="PET",
            output_dir=tmp_path / "out",
            format="analyze",
        )
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_push_needs_dicom(
    pet: DemoSubject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    paths = ["--fixed", str(pet.fixed), "--moving", str(pet.moving)]
    more = ["--modality", "PET", "--output-dir", str(tmp_path / "out"), "--push", "A@localhost:1"]
    monkeypatch.setattr(sys, "argv", ["monai-ddfm", "fuse", *paths, *more])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "--format dicom" in capfd.readouterr().err
