"""DICOM series: the right voxels in the right units and series."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dicom_makers as make
import numpy as np
import pytest
from monai.data import decollate_batch, list_data_collate
from pydicom.data import get_testdata_file
from volume_checks import RNG, agrees_with_itk, corners, itk, noise, notes, refusal

from monai_ddfm.transforms.loading import LoadVolume, LoadVolumed
from monai_ddfm.utils.reports import reports_of

# --- plain series


@pytest.mark.parametrize(
    "orientation",
    [make.AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0), make.oblique()],
    ids=["axial", "sagittal", "coronal", "mirrored", "oblique"],
)
def test_series_in_any_orientation(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    folder = make.series(tmp_path / "Müller T1 äöü", noise(), orientation=orientation)
    volume = LoadVolume(modality="MR")(folder)
    assert volume.shape == (1, 10, 8, 6)
    agrees_with_itk(volume, folder)


def test_slices_in_reverse_order(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise(), step=-2.5)
    agrees_with_itk(LoadVolume()(folder), folder)


@pytest.mark.parametrize("name", ["dicom_mr", "dicom_pet"])
def test_a_real_series_lies_where_itk_puts_it(shared: Path, name: str) -> None:
    folder = shared / "data/mr_pet_subject" / name
    volume = LoadVolume()(folder)
    voxels, points = itk(folder)
    np.testing.assert_allclose(corners(volume.affine, volume.shape), points, atol=0.01)
    if name == "dicom_mr":
        np.testing.assert_allclose(volume[0].numpy(), voxels, atol=1e-6)
    assert "258" in notes(volume)


def test_pet_stored_as_monochrome1_is_not_inverted(shared: Path) -> None:
    volume = LoadVolume(modality="PET")(shared / "data/mr_pet_subject/dicom_pet")[0]
    brain, background = volume[118:138, 118:138].mean(), volume[:20, :20].mean()
    assert brain > 0.5
    assert background < 1e-4


def test_metadata_for_later_writers(tmp_path: Path) -> None:
    folder = make.series(tmp_path / "mr", noise(), SeriesDescription="T1 mprage")
    case = LoadVolumed(("fixed",), modality="MR")({"fixed": str(folder)})
    meta = decollate_batch(list_data_collate([case]))[0]["fixed"].meta
    assert meta["patient_id"] == "P1"
    assert meta["frame_of_reference_uid"] == "1.2.3.5"
    assert meta["modality"] == "MR"
    files = json.loads(meta["source_files"])
    depths = [make.reread(Path(f)).ImagePositionPatient[2] for f in files]
    assert depths == sorted(depths)
    assert len(depths) == 6
    report = reports_of(case["fixed"])["reading"]
    assert report["series"]["description"] == "T1 mprage"
    assert report["series"]["slices"] == 6


def test_slope_of_every_slice_counts(tmp_path: Path) -> None:
    pixels = noise()
    slopes = [1.0, 0.5, 2.0, 3.0, 0.25, 1.5]

    def change(dataset: object, k: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slopes[k], 0

    volume = LoadVolume()(make.series(tmp_path, pixels, change=change))
    np.testing.assert_allclose(
        volume[0].numpy(), (pixels * np.array(slopes)[:, None, None]).T, rtol=1e-6
    )


def test_hounsfield_units_and_padding(tmp_path: Path) -> None:
    pixels = noise()
    pixels[:, 0, 0] = -2000
    folder = make.series(
        tmp_path,
        pixels,
        modality="CT",
        RescaleSlope=1,
        RescaleIntercept=-1024,
        RescaleType="HU",
        PixelPaddingValue=-2000,
    )
    volume = LoadVolume(modality="CT")(folder)
    expected = pixels.T.astype(np.float32) - 1024
    expected[0, 0] = pixels[pixels > 0].min() - 1024
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    assert volume.meta["units"] == "HU"


def test_ct_without_rescale_is_not_called_hounsfield(tmp_path: Path) -> None:
    volume = LoadVolume()(make.series(tmp_path, noise(), modality="CT"))
    assert volume.meta["units"] == "relative"
    assert "not HU" in notes(volume)


def test_monochrome1_of_an_mri_is_inverted_and_of_a_ct_is_not(tmp_path: Path) -> None:
    pixels = noise()
    for modality in ("MR", "CT", "NM"):
        folder = make.series(
            tmp_path / modality, pixels, modality=modality, PhotometricInterpretation="MONOCHROME1"
        )
        volume = LoadVolume()(folder)[0].numpy()
        inverted = float(pixels.max()) + float(pixels.min()) - pixels.T
        np.testing.assert_array_equal(volume, inverted if modality == "MR" else pixels.T)


def test_old_overlay_bits_are_cleared(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 4096, (4, 8, 8), dtype=np.uint16)
    dirty = pixels | (RNG.integers(0, 2, pixels.shape, dtype=np.uint16) << 13)
    volume = LoadVolume()(make.series(tmp_path, dirty, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(volume[0].numpy(), pixels.T)


def test_a_series_in_color_keeps_its_colors(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, 6, 7, 3), dtype=np.uint8)
    volume = LoadVolume()(make.series(tmp_path, pixels, modality="OT"))
    assert volume.shape == (3, 7, 6, 4)
    np.testing.assert_array_equal(volume.numpy(), pixels.transpose(3, 2, 1, 0))
    assert volume.meta["units"] == "RGB"


def test_copies_of_a_slice_do_no_harm(tmp_path: Path) -> None:
    pixels = noise()
    folder = make.series(tmp_path, pixels)
    shutil.copy(folder / "00000.dcm", folder / "copy of 00000.dcm")
    np.testing.assert_array_equal(LoadVolume()(folder)[0].numpy(), pixels.T)


def dicomdir(name: str) -> Path:
    """A folder of one of the DICOM media that come with pydicom."""
    return Path(get_testdata_file("DICOMDIR", download=False)).parent / name


def test_disc_of_a_scanner() -> None:
    folder = dicomdir("98892001")
    volume = LoadVolume(modality="CT")(folder)
    report = reports_of(volume)["reading"]["series"]
    assert report["description"] == "SmartScore - Gated 0.5 sec"
    agrees_with_itk(volume, folder / "CT5N")
    assert "lacks about 161 slice" in refusal(dicomdir("77654033"), modality="CT")
    message = refusal(dicomdir("98892003"), modality="MR")
    assert message.count("with UID 1.3.6.1") == 2


def test_directory_file_is_passed_over(tmp_path: Path) -> None:
    folder = make.series(tmp_path / "a", noise())
    shutil.copy(dicomdir("DICOMDIR"), folder / "DICOMDIR")
    assert LoadVolume()(folder).shape == (1, 10, 8, 6)
    assert "Media Storage Directory" in refusal(folder / "DICOMDIR")


# --- several series, patients


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name, modality, number in (("T1", "MR", 3), ("T2 tse", "MR", 4), ("PET", "PT", 5)):
        make.series(
            tmp_path / "study" / name,
            noise() + number,
            modality=modality,
            SeriesInstanceUID=f"1.2.3.4.{number}",
            SeriesDescription=name,
            SeriesNumber=number,
        )
    make.series(
        tmp_path / "study" / "scout",
        noise(1, 8, 10),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        SeriesInstanceUID="1.2.3.4.1",
        SeriesDescription="scout",
    )
    (tmp_path / "study" / "notes.txt").write_text("nothing to see")
    return tmp_path / "study"


def test_series_is_chosen_by_modality_and_description(study: Path) -> None:
    def chosen(**options: object) -> str:
        report = reports_of(LoadVolume(**options)(study))["reading"]
        return str(report["series"]["description"])

    assert chosen(modality="PET") == "PET"
    assert chosen(modality="MR", series="t1") == "T1"
    assert chosen(series="tse") == "T2 tse"
    assert chosen(series="4") == "T2 tse"
    assert chosen(series="1.2.3.4.5") == "PET"


def test_series_that_cannot_be_told_apart_are_listed(study: Path) -> None:
    message = refusal(study, modality="MR")
    assert "'T1' (MR, number 3, 6 slices)" in message
    assert "'T2 tse' (MR, number 4, 6 slices)" in message
    assert "scout" not in message
    assert "'PET'" in refusal(study)
    assert "holds no CT" in refusal(study, modality="CT")
    assert "no series 'FLAIR'" in refusal(study, series="FLAIR")


def test_series_of_another_modality(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise())
    assert "holds no PET" in refusal(folder, modality="PET")


def test_two_patients_in_one_folder(tmp_path: Path) -> None:
    def change(dataset: object, k: int) -> None:
        dataset.PatientID = "P2" if k > 2 else "P1"

    message = refusal(make.series(tmp_path, noise(), change=change))
    assert "2 patients" in message
    assert "P2" not in message


def test_a_localizer_alone_is_refused(tmp_path: Path) -> None:
    planes = [make.AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)]

    def change(dataset: object, k: int) -> None:
        dataset.ImageOrientationPatient = list(planes[k % 3])

    turned = make.series(tmp_path / "three planes", noise(), change=change)
    assert "localizer" in refusal(turned)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    assert "localizer" in refusal(make.series(tmp_path / "one", noise(), ImageType=kind))
