"""The DICOM objects of a run: at the right place, with the right values and references."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_fusions import corners, demo, demo_case, read_series
from dicom_objects import MODALITIES, array, every, written
from monai.transforms import LoadImage
from run_cases import NOTICE

from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.utils.color import color_table
from monai_ddfm.utils.reports import reports_of


@pytest.mark.parametrize("modality", MODALITIES)
def test_images_lie_where_the_mri_lies(modality):
    expected = np.array(corners(read_series(demo(modality).fixed_dicom)))
    for role in ("fused", "fused_rgb", "moving_registered"):
        folder = written(modality) / role
        if not folder.exists():
            assert (modality, role) == ("CT", "fused_rgb")
            continue
        image = read_series(folder)
        np.testing.assert_allclose(np.array(corners(image)), expected, atol=0.01)
        monai = LoadImage(image_only=True)(str(folder))
        last = [n - 1 for n in monai.shape[:3]]
        ends = [(monai.affine.numpy() @ (*index, 1))[:3] for index in ([0, 0, 0], last)]
        lps = np.array(ends) * (-1, -1, 1)
        np.testing.assert_allclose(lps, expected[[0, 7]], atol=0.01)


@pytest.mark.parametrize("modality", MODALITIES)
def test_values_come_back(modality):
    case, folder = demo_case(modality), written(modality)
    fused = sitk.GetArrayFromImage(read_series(folder / "fused"))
    np.testing.assert_allclose(fused / 10000, array(case, "fused")[0], atol=0.5e-4 + 1e-7)
    monai = LoadImage(image_only=True)(str(folder / "fused")).numpy()
    np.testing.assert_array_equal(monai.transpose(2, 1, 0), fused)
    mapping = every(folder / "fused")[0].RealWorldValueMappingSequence[0]
    assert mapping.RealWorldValueSlope == pytest.approx(1e-4)
    moved = sitk.GetArrayFromImage(read_series(folder / "moving_registered"))
    expected = array(case, "moving")[0]
    factor = reports_of(case["moving"])["reading"].get("suv", {}).get("factor", 1.0)
    step = 1.0 if modality == "CT" else float(expected.max()) / 32767
    np.testing.assert_allclose(moved * factor, expected, atol=0.51 * step)
    again = LoadVolume(modality=modality)(folder / "moving_registered")
    assert again.meta["units"] == {"PET": "SUVbw", "CT": "HU", "SPECT": "counts"}[modality]
    np.testing.assert_allclose(array({"v": again}, "v")[0], expected, atol=0.51 * step)
    monai = LoadImage(image_only=True)(str(folder / "moving_registered")).numpy()
    np.testing.assert_allclose(monai.transpose(2, 1, 0) * factor, expected, atol=0.51 * step)


def test_pet_keeps_the_units_of_its_scanner():
    source = pydicom.dcmread(next(demo("PET").moving_dicom.glob("*.dcm")))
    dataset = every(written("PET") / "moving_registered")[0]
    assert dataset.Units == source.Units == "BQML"
    assert dataset.PatientWeight == source.PatientWeight
    assert (dataset.SeriesDate, dataset.SeriesTime) == (source.SeriesDate, source.SeriesTime)
    ours = dataset.RadiopharmaceuticalInformationSequence[0]
    theirs = source.RadiopharmaceuticalInformationSequence[0]
    for keyword in (
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartTime",
    ):
        assert ours[keyword].value == theirs[keyword].value


def test_the_weight_map_lies_on_the_mri_and_is_not_rounded():
    hd = pytest.importorskip("highdicom")
    case, file = demo_case("PET"), written("PET") / "weight" / "0001.dcm"
    dataset = pydicom.dcmread(file)
    groups = dataset.PerFrameFunctionalGroupsSequence
    depths = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in groups]
    expected = array(case, "weight")[0]
    np.testing.assert_array_equal(dataset.pixel_array[np.argsort(depths)], expected)
    moved = {d.SOPInstanceUID: d for d in every(written("PET") / "moving_registered")}
    for group, depth in zip(groups, depths, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[1]
        image = moved[source.ReferencedSOPInstanceUID]
        assert float(image.ImagePositionPatient[2]) == depth
    assert dataset.ContentQualification == "RESEARCH"
    volume = hd.pm.ParametricMap.from_file(file).get_volume()
    np.testing.assert_array_equal(np.sort(volume.array.ravel()), np.sort(expected.ravel()))
    ends = np.array(corners(read_series(demo("PET").fixed_dicom)))
    mine = np.array(
        volume.map_indices_to_reference(
            np.array(
                [
                    [i, j, k]
                    for i in (0, volume.shape[0] - 1)
                    for j in (0, volume.shape[1] - 1)
                    for k in (0, volume.shape[2] - 1)
                ]
            )
        )
    )
    for point in ends:
        assert np.linalg.norm(mine - point, axis=1).min() < 0.01


def test_patient_study_and_place_are_those_of_the_mri():
    source = pydicom.dcmread(next(demo("CT").fixed_dicom.glob("*.dcm")))
    series = {}
    for dataset in every(written("CT")):
        for keyword in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyInstanceUID",
            "StudyID",
            "AccessionNumber",
        ):
            assert dataset[keyword].value == source[keyword].value, keyword
        if "FrameOfReferenceUID" in dataset:
            assert dataset.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert dataset.SeriesDescription.endswith(NOTICE)
        assert len(dataset.SeriesDescription) <= 64
        assert "monai_ddfm" in dataset.SoftwareVersions[0]
        series.setdefault(dataset.Modality + dataset.SeriesDescription, set()).add(
            (dataset.SeriesInstanceUID, dataset.SeriesNumber)
        )
    assert all(len(names) == 1 for names in series.values())
    assert len({name for names in series.values() for name, _ in names}) == len(series) == 5
    instances = [dataset.SOPInstanceUID for dataset in every(written("CT"))]
    assert len(set(instances)) == len(instances)


def test_fused_slices_refer_to_the_slices_they_were_made_from():
    sources = {
        d.SOPInstanceUID: d for d in map(pydicom.dcmread, demo("PET").fixed_dicom.glob("*.dcm"))
    }
    moved = {d.SOPInstanceUID: d for d in every(written("PET") / "moving_registered")}
    for dataset in every(written("PET") / "fused"):
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
        assert NOTICE in dataset.DerivationDescription
        assert dataset.BurnedInAnnotation == "NO"
        mri, pet = (item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence)
        for source in (sources[mri], moved[pet]):
            assert source.ImagePositionPatient == dataset.ImagePositionPatient
            assert source.ImageOrientationPatient == dataset.ImageOrientationPatient
    assert len(every(written("PET") / "fused")) == len(sources)


def test_moving_slices_refer_to_the_images_at_their_depth():
    sources = {
        d.SOPInstanceUID: d for d in map(pydicom.dcmread, demo("PET").moving_dicom.glob("*.dcm"))
    }
    to_moving = sitk.ReadTransform(str(demo("PET").truth)).GetInverse()
    for dataset in every(written("PET") / "moving_registered"):
        named = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
        depths = [float(sources[name].ImagePositionPatient[2]) for name in named]
        assert len(named) < len(sources)
        step = float(sources[named[0]].SliceThickness)
        image = sitk.Image(int(dataset.Columns), int(dataset.Rows), 1, sitk.sitkUInt8)
        image.SetOrigin([float(v) for v in dataset.ImagePositionPatient])
        image.SetSpacing([*map(float, dataset.PixelSpacing[::-1]), 1.0])
        hit = np.array([to_moving.TransformPoint(point)[2] for point in corners(image)])
        whole = [float(d.ImagePositionPatient[2]) for d in sources.values()]
        low, high = (np.clip(end, min(whole), max(whole)) for end in (hit.min(), hit.max()))
        assert min(depths) <= low + 1e-3
        assert max(depths) >= high - 1e-3
        assert min(depths) > low - 2 * step


def test_the_registration_leads_from_moving_to_the_mri():
    dataset = every(written("PET") / "registration")[0]
    truth = sitk.ReadTransform(str(demo("PET").truth))
    mri, pet = dataset.RegistrationSequence
    source = pydicom.dcmread(next(demo("PET").moving_dicom.glob("*.dcm")))
    assert mri.FrameOfReferenceUID == dataset.FrameOfReferenceUID
    assert pet.FrameOfReferenceUID == source.FrameOfReferenceUID
    for one in (mri, pet):
        matrix = one.MatrixRegistrationSequence[0].MatrixSequence[0]
        assert matrix.FrameOfReferenceTransformationMatrixType == "RIGID"
        values = np.array(matrix.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)
        for point in ((0.0, 0.0, 0.0), (80.0, -60.0, 55.0), (-33.0, 90.0, -70.0)):
            expected = point if one is mri else truth.TransformPoint(point)
            np.testing.assert_allclose((values @ (*point, 1))[:3], expected, atol=1e-6)


def test_the_overlay_shows_the_mri_and_the_registered_moving():
    dataset = every(written("PET") / "presentation")[0]
    below, above = dataset.AdvancedBlendingSequence
    mri = {pydicom.dcmread(f).SOPInstanceUID for f in demo("PET").fixed_dicom.glob("*.dcm")}
    pet = every(written("PET") / "moving_registered")
    for layer, images in ((below, mri), (above, {d.SOPInstanceUID for d in pet})):
        assert {r.ReferencedSOPInstanceUID for r in layer.ReferencedImageSequence} == images
    assert (below.GeometryForDisplay, above.GeometryForDisplay) == ("TRUE", "FALSE")
    assert above.RescaleSlope == pet[0].RescaleSlope
    lut = above.PaletteColorLookupTableSequence[0]
    red = np.frombuffer(lut.RedPaletteColorLookupTableData, "<u2") / 65535
    np.testing.assert_allclose(red, color_table("inferno").numpy()[:, 0], atol=1e-4)
    report = reports_of(demo_case("PET")["moving_scaled"])["intensity"]
    factor = reports_of(demo_case("PET")["moving"])["reading"]["suv"]["factor"]
    voi = above.SoftcopyVOILUTSequence[0]
    low, high = _black_and_white(voi)
    assert low * factor == pytest.approx(report["lower"], abs=1e-3)
    assert high * factor == pytest.approx(report["upper"], rel=1e-3)
    assert dataset.BlendingDisplaySequence[0].RelativeOpacity == 0.5


def _black_and_white(window: pydicom.Dataset) -> tuple[float, float]:
    center, width = float(window.WindowCenter), float(window.WindowWidth)
    if window.VOILUTFunction == "LINEAR_EXACT":
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
