"""What a de-identified run leaves names nobody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import pydicom
import pytest
from dicom_fusions import demo

from monai_ddfm.data.writers.anonymity import without_identity
from monai_ddfm.errors import InputError
from monai_ddfm.workflow import FusionResult, fuse

NAME, ID, SERIES = "GRUBERZZ^ALMA", "ID-ZZ4711", "brain of Alma Gruberzz"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prior: Path) -> dict[bool, FusionResult]:
    """The same run twice, of a patient whose name is everywhere: with and without identity."""
    base = tmp_path_factory.mktemp("patients") / NAME
    subject = demo("PET")
    folders = {}
    for role, source in (("fixed", subject.fixed_dicom), ("moving", subject.moving_dicom)):
        assert source is not None
        folders[role] = base / role
        folders[role].mkdir(parents=True)
        for file in source.iterdir():
            dataset = pydicom.dcmread(file)
            dataset.PatientName, dataset.PatientID = NAME, ID
            dataset.PatientBirthDate = "19561109"
            dataset.SeriesDescription = SERIES
            dataset.save_as(folders[role] / file.name)
    outputs = {deidentify: tmp_path_factory.mktemp("out") for deidentify in (False, True)}
    return {
        deidentify: fuse(
            folders["fixed"],
            folders["moving"],
            modality="PET",
            output_dir=folder,
            prior=prior,
            steps=1,
            device="cpu",
            registration="none",
            format="both",
            deidentify=deidentify,
            fixed_series=SERIES,
            bids={"root": folder / "derivatives", "subject": "01"},
        )
        for deidentify, folder in outputs.items()
    }


def secrets_of(result: FusionResult, subject_folder: Path) -> set[str]:
    """What must not be found: names, dates, every UID, the folder, and hashes of the inputs."""
    found = {NAME, "GRUBERZZ", "Gruberzz", ID, "19561109", SERIES, str(subject_folder)}
    for role in ("fixed", "moving"):
        found.add(result.provenance["inputs"][role]["sha256"])
        dataset = pydicom.dcmread(next((subject_folder / role).iterdir()))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            found.add(str(dataset[keyword].value))
        found.add(str(dataset.FrameOfReferenceUID))
        found.update(str(dataset.get(k)) for k in ("StudyDate", "SeriesDate") if dataset.get(k))
    return found


def written_text(result: FusionResult) -> dict[str, str]:
    """Everything in the files that could be read as text, the pictures of the page left out."""
    texts = {}
    for path in result.output_dir.rglob("*"):
        if path.suffix == ".gz":
            texts[path.name] = repr(nib.load(path).header.structarr.tolist())
        elif path.is_file():
            text = path.read_bytes().decode("latin-1")
            texts[str(path.relative_to(result.output_dir))] = re.sub(r'"png": ".*?"', "", text)
    return texts


def test_nothing_that_is_written_names_the_patient(runs: dict[bool, FusionResult]) -> None:
    folder = Path(runs[False].provenance["inputs"]["fixed"]["path"]).parent
    secrets = secrets_of(runs[False], folder)
    assert len(secrets) > 10
    open_texts = written_text(runs[False])
    assert NAME in open_texts["report.html"]  # the search finds what is there
    assert NAME in open_texts["provenance.json"]
    for name, text in written_text(runs[True]).items():
        assert [secret for secret in secrets if secret in text] == [], name


def test_sources_are_named_in_bids_only_with_identity(
    runs: dict[bool, FusionResult],
) -> None:
    for deidentified, result in runs.items():
        named, root = not deidentified, result.output_dir / "derivatives"
        text = "".join(path.read_text() for path in root.rglob("*.json"))
        assert ("GRUBERZZ" in text) == named
        assert ('"Sources"' in text) == named


def test_the_figures_stay(runs: dict[bool, FusionResult]) -> None:
    kept, whole = runs[True].provenance, runs[False].provenance
    assert kept.keys() == whole.keys()
    for name in ("registration", "intensity", "color"):
        assert kept["reports"][name] == whole["reports"][name]
    assert kept["reports"]["reading"]["moving"]["units"] == "SUVbw"
    assert kept["bound"] == whole["bound"]
    assert kept["prior"]["sha256"] == whole["prior"]["sha256"]
    assert kept["options"]["seed"] == 0
    assert kept["options"]["fixed_series"] == "removed"
    assert kept["outputs"].keys() == whole["outputs"].keys()
    assert "report.html" in kept["outputs"]


def test_a_field_that_nobody_has_thought_about_is_left_out(
    runs: dict[bool, FusionResult],
) -> None:
    record = json.loads(json.dumps(runs[False].provenance))
    record["new"] = NAME
    record["reports"]["new"] = {"moving": {"text": NAME}}
    record["reports"]["reading"]["fixed"]["new"] = NAME
    record["options"]["registration"] = f"/home/{NAME}.tfm"
    record["options"]["bids"] = {"root": f"/home/{NAME}"}
    assert "GRUBERZZ" not in json.dumps(without_identity(record))


def test_bids_labels_must_come_from_somewhere(tmp_path: Path) -> None:
    subject = demo("PET")
    options = {"modality": "PET", "output_dir": tmp_path / "out", "registration": "none"}
    with pytest.raises(InputError, match="do not name the subject"):
        fuse(subject.fixed, subject.moving, bids={"root": tmp_path / "bids"}, **options)
    with pytest.raises(InputError, match="needs a folder"):
        fuse(subject.fixed, subject.moving, bids={"subject": "01"}, **options)
    with pytest.raises(InputError, match="letters and digits"):
        fuse(
            subject.fixed,
            subject.moving,
            bids={"root": tmp_path / "bids", "subject": "a-b"},
            **options,
        )
    with pytest.raises(InputError, match="no option 'color'"):
        fuse(subject.fixed, subject.moving, bids={"color": "01"}, **options)
    with pytest.raises(InputError, match="nifti or both"):
        fuse(
            subject.fixed,
            subject.moving,
            bids={"root": tmp_path / "bids", "subject": "01"},
            format="dicom",
            **options,
        )
    assert list(tmp_path.iterdir()) == []
