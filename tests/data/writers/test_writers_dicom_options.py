"""De-identification, repeatable names, unknown patients, odd headers, other grids."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_fusions import corners, demo, demo_case, errors_of, fusion_case, read_series
from dicom_makers import item, reread
from monai.data import MetaTensor

from monai_ddfm.data.writers.dicom import SaveFusionDicomd
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume

NOTICE = "research use only - not for diagnosis"
TEXT = {"PN", "LO", "SH", "ST", "LT", "UT", "DA", "TM", "DT", "AS", "UC"}
STANDARD = "1.2.840.10008."


def save(folder: Path, case: dict, modality: str = "CT", **options) -> list[pydicom.Dataset]:
    SaveFusionDicomd(folder, modality=modality, **options)(case)
    return [pydicom.dcmread(path) for path in sorted((folder / "dicom").rglob("*.dcm"))]


def values(dataset: pydicom.Dataset) -> set[tuple[str, str]]:
    """Every value that could identify somebody, with its kind."""
    found = set()
    for element in dataset.iterall():
        if element.VR not in TEXT | {"UI"} or not element.value:
            continue
        for value in [element.value] if element.VM == 1 else element.value:
            found.add(("UI" if element.VR == "UI" else "text", str(value)))
    return {(kind, value) for kind, value in found if not value.startswith(STANDARD)}


def secret_series(source: Path, folder: Path) -> Path:
    """Copy a series and fill in what hospitals write."""
    folder.mkdir()
    for path in source.glob("*.dcm"):
        dataset = reread(path)
        dataset.PatientName, dataset.PatientID = "Secret^Person", "SECRET-7"
        dataset.OtherPatientIDs, dataset.PatientAddress = "SECRET-8", "Secret street 9"
        dataset.InstitutionName, dataset.OperatorsName = "Secret hospital", "Secret^Nurse"
        dataset.StationName, dataset.DeviceSerialNumber = "SECRETST", "SECRET-10"
        dataset.AccessionNumber, dataset.StudyID = "SECRET-11", "SECRET-12"
        dataset.StudyDescription = dataset.SeriesDescription = "Secret study"
        dataset.Manufacturer = dataset.ManufacturerModelName = "Secret maker"
        dataset.PatientBirthDate = "19530607"
        dataset.PatientAge, dataset.BodyPartExamined = "054Y", "HEAD"
        dataset.RequestAttributesSequence = [item(RequestedProcedureID="SECRET-13")]
        block = dataset.private_block(0x0029, "SECRET CREATOR", create=True)
        block.add_new(0x10, "LO", "SECRET-14")
        dataset.save_as(folder / path.name, enforce_file_format=True)
    return folder


def test_a_deidentified_run_keeps_nothing_that_identifies(tmp_path):
    subject = demo("PET")
    mri = secret_series(subject.fixed_dicom, tmp_path / "mri")
    pet = secret_series(subject.moving_dicom, tmp_path / "pet")
    case = fusion_case(mri, pet, modality="PET", transform=subject.truth)
    sources = [pydicom.dcmread(path) for path in (*mri.iterdir(), *pet.iterdir())]
    forbidden = set().union(*map(values, sources)) - {("text", NOTICE), ("text", "SCT")}
    made = save(tmp_path / "out", case, "PET", deidentify=True)
    for dataset in made:
        kept = values(dataset)
        assert not kept & forbidden
        assert not [value for _, value in kept if "secret" in value.lower()]
        assert not [element for element in dataset.iterall() if element.tag.is_private]
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.StudyDate == ""
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"secret" not in path.read_bytes().lower(), path
    assert errors_of(sorted((tmp_path / "out").rglob("0001.dcm"))) == {}
    assert len({(d.StudyInstanceUID, d.PatientID) for d in made}) == 1


def test_deidentified_identifiers_are_replaced_consistently(tmp_path):
    made = save(tmp_path, demo_case("PET"), "PET", deidentify=True)
    folder = {d.SOPInstanceUID: d for d in made}
    by_class = {}
    for dataset in made:
        by_class.setdefault(str(dataset.SeriesDescription).split(";")[0], []).append(dataset)
    frames = {d.FrameOfReferenceUID for d in made if "FrameOfReferenceUID" in d}
    assert len(frames) == 1
    registration = by_class["PET to MR"][0]
    assert registration.RegistrationSequence[0].FrameOfReferenceUID in frames
    for fused in by_class["MR+PET fusion"]:  # the MRI is among the objects, because it is not named
        for source in fused.SourceImageSequence:
            assert source.ReferencedSOPInstanceUID in folder
    # The same images of the PET go by the same new names in all objects.
    named = {
        r.ReferencedSOPInstanceUID
        for d in by_class["PET on MR grid"]
        for r in d.SourceImageSequence
    }
    registered = {
        r.ReferencedSOPInstanceUID
        for r in registration.RegistrationSequence[1].ReferencedImageSequence
    }
    assert named <= registered
    assert len(registered) == len(list(demo("PET").moving_dicom.iterdir()))
    pet = by_class["PET on MR grid"][0]
    assert pet.Units == "GML"  # the dates that an SUV is computed from are gone
    volume = LoadVolume(modality="PET")(tmp_path / "dicom" / "moving_registered")
    expected = np.asarray(demo_case("PET")["moving"].as_tensor())
    assert volume.meta["units"] == "SUVbw"
    np.testing.assert_allclose(np.asarray(volume.as_tensor()), expected, atol=2e-4)
    other = save(tmp_path / "again", demo_case("PET"), "PET", deidentify=True)
    assert not {d.StudyInstanceUID for d in other} & {d.StudyInstanceUID for d in made}


def test_deterministic_names_make_the_same_bytes(tmp_path):
    case, options = demo_case("CT"), {"deterministic_uids": True}
    first = save(tmp_path / "a", case, **options)
    save(tmp_path / "b", case, **options)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        if path.is_file():
            twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
            assert path.read_bytes() == twin.read_bytes(), path
    changed = {**case, "fused": case["fused"] * 0.999}
    other = save(tmp_path / "c", changed, **options)
    assert not {d.SOPInstanceUID for d in first} & {d.SOPInstanceUID for d in other}
    chance = save(tmp_path / "d", case)
    assert not {d.SOPInstanceUID for d in first} & {d.SOPInstanceUID for d in chance}


def test_the_patient_of_nifti_volumes_is_unknown_or_given(tmp_path):
    case = demo_case("CT", "nifti")
    unknown = save(tmp_path / "a", case)
    assert {str(d.PatientName) for d in unknown} == {"UNKNOWN^"}
    other = save(tmp_path / "b", case)
    ids = [{d.PatientID for d in made} for made in (unknown, other)]
    assert all(len(i) == 1 and next(iter(i)).startswith("UNKNOWN-") for i in ids)
    assert ids[0] != ids[1]  # an archive must not take two unknown persons for one
    given = {"name": "Müller^Käthe", "id": "P-1", "birth_date": "1950-02-28", "sex": "f"}
    for dataset in save(tmp_path / "c", case, patient=given):
        assert (dataset.PatientName, dataset.PatientID) == ("Müller^Käthe", "P-1")
        assert (dataset.PatientBirthDate, dataset.PatientSex) == ("19500228", "F")


@pytest.mark.parametrize(
    ("patient", "said"),
    [
        ({"age": "5"}, "no field"),
        ({"sex": "male"}, "M, F or O"),
        ({"birth_date": "1950-02-30"}, "no date"),
        ({"birth_date": "yesterday"}, "no date"),
    ],
)
def test_a_wrong_patient_is_refused_at_once(tmp_path, patient, said):
    with pytest.raises(InputError, match=said):
        SaveFusionDicomd(tmp_path, modality="CT", patient=patient)
    assert list(tmp_path.iterdir()) == []


def test_a_patient_that_the_mri_names_cannot_be_renamed(tmp_path):
    with pytest.raises(InputError, match="names the patient already"):
        save(tmp_path, demo_case("CT"), patient={"name": "Other^Person"})
    assert list(tmp_path.iterdir()) == []
    made = save(tmp_path, demo_case("CT"), patient={"id": "SUBJECT-1"}, deidentify=True)
    assert {d.PatientID for d in made} == {"SUBJECT-1"}


def test_sources_that_have_gone_are_named(tmp_path):
    subject = demo("CT")
    mri = shutil.copytree(subject.fixed_dicom, tmp_path / "mri")
    case = fusion_case(mri, subject.moving_dicom, modality="CT", transform=subject.truth)
    shutil.rmtree(mri)
    with pytest.raises(InputError, match="mri"):
        save(tmp_path / "out", case)
    assert not (tmp_path / "out").exists()


def test_a_header_full_of_nonsense_gives_valid_objects(tmp_path):
    subject = demo("CT")
    folder = tmp_path / "mri"
    folder.mkdir()
    for path in subject.fixed_dicom.glob("*.dcm"):
        dataset = reread(path)
        with pydicom.config.disable_value_validation():
            dataset.PatientBirthDate, dataset.StudyTime = "1950-13-45", "99:99"
            dataset.PatientSex, dataset.PatientID = "female", "x" * 90
            dataset.StudyDescription = "two\nlines \\ and a backslash " + "y" * 90
            dataset.ScanningSequence, dataset.SequenceVariant = "nothing", ["SP", "wrong one"]
            dataset.BodyPartExamined, dataset.Laterality = "left knee (?)", "both"
            dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "1.02.x", "not a uid"
            dataset.save_as(folder / path.name, enforce_file_format=True)
    case = fusion_case(folder, subject.moving_dicom, modality="CT", transform=subject.truth)
    made = save(tmp_path / "out", case)
    assert errors_of(sorted((tmp_path / "out").rglob("0001.dcm"))) == {}
    assert len({d.StudyInstanceUID for d in made}) == 1


@pytest.mark.parametrize(
    "axes", ["RAS", "ASL", *(pytest.param(a, marks=pytest.mark.slow) for a in ("LIP", "IRP"))]
)
def test_a_nifti_volume_is_cut_as_viewers_expect(tmp_path, axes):
    volume = nib.load(demo("CT").fixed)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.affine), nib.orientations.axcodes2ornt(axes)
    )
    nib.save(volume.as_reoriented(turn), tmp_path / "mri.nii.gz")
    case = fusion_case(tmp_path / "mri.nii.gz", demo("CT").moving, modality="CT")
    made = save(tmp_path, case)
    orientation = [float(v) for v in made[0].ImageOrientationPatient]
    np.testing.assert_allclose(orientation, [1, 0, 0, 0, 1, 0], atol=1e-6)
    written = read_series(tmp_path / "dicom" / "fused")
    straight = sitk.DICOMOrient(sitk.ReadImage(str(demo("CT").fixed)), "LPS")
    np.testing.assert_allclose(corners(written), corners(straight), atol=0.01)
    values = sitk.GetImageFromArray(case["fused"][0].permute(2, 1, 0).numpy())
    values.CopyInformation(sitk.ReadImage(str(tmp_path / "mri.nii.gz")))
    expected = sitk.GetArrayFromImage(sitk.DICOMOrient(values, "LPS"))
    shown = sitk.GetArrayFromImage(written) / 10000
    np.testing.assert_allclose(shown, expected, atol=0.51e-4)


def test_a_transform_that_bends_is_written_as_displacements(tmp_path):
    case = dict(demo_case("PET"))
    bent = sitk.BSplineTransformInitializer(
        sitk.ReadImage(str(demo("PET").fixed)), [3, 3, 3], order=3
    )
    rng = np.random.default_rng(7)
    bent.SetParameters(rng.normal(0, 4, len(bent.GetParameters())).tolist())
    sitk.WriteTransform(bent, str(tmp_path / "bent.tfm"))
    moving: MetaTensor = case["moving"].clone()
    moving.meta["ddfm_transform"] = (tmp_path / "bent.tfm").read_text()
    made = save(tmp_path, {**case, "moving": moving}, "PET")
    dataset = next(d for d in made if d.Modality == "REG")
    assert errors_of([tmp_path / "dicom" / "registration" / "0001.dcm"]) == {}
    field = dataset.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    size = [int(n) for n in field.GridDimensions]
    moves = np.frombuffer(field.VectorGridData, "<f4").reshape(*size[::-1], 3)
    image = sitk.GetImageFromArray(moves.astype(np.float64), isVector=True)
    image.SetOrigin([float(v) for v in field.ImagePositionPatient])
    image.SetSpacing([float(v) for v in field.GridResolution])
    again = sitk.DisplacementFieldTransform(image)
    for point in rng.uniform((-50, -50, -25), (50, 50, 80), (20, 3)).tolist():
        np.testing.assert_allclose(
            again.TransformPoint(point), bent.TransformPoint(point), atol=0.1
        )


def test_volumes_in_color_stay_in_color(tmp_path):
    case = dict(demo_case("SPECT", "nifti"))
    rgb = case["fused_rgb"] * 255
    rgb.meta = {**case["moving"].meta, "units": "RGB"}
    made = save(tmp_path, {**case, "moving": rgb}, "SPECT")
    moved = [d for d in made if d.SeriesDescription.startswith("SPECT on MR grid")]
    assert {d.PhotometricInterpretation for d in moved} == {"RGB"}
    expected = np.rint(np.asarray(rgb.as_tensor()).transpose(3, 2, 1, 0))
    shown = sitk.GetArrayFromImage(read_series(tmp_path / "dicom" / "moving_registered"))
    np.testing.assert_allclose(shown, expected, atol=1)
    assert errors_of(sorted((tmp_path / "dicom").rglob("0001.dcm"))) == {}
