"""DICOM series and multi-frame images: the right voxels at the right place, or a clear refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dicom_makers as make
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor, decollate_batch, list_data_collate
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from monai_ddfm.errors import InputError
from monai_ddfm.reports import reports_of
from monai_ddfm.transforms.loading import LoadVolume, LoadVolumed

RNG = np.random.default_rng(11)


def noise(*shape: int, high: int = 3000) -> np.ndarray:
    return RNG.integers(1, high, shape or (6, 8, 10), dtype=np.int16)


def refusal(path: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        LoadVolume(**options)(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def notes(volume: MetaTensor) -> str:
    return " ".join(reports_of(volume)["reading"]["notes"])


def corners(affine: torch.Tensor, shape: torch.Size) -> np.ndarray:
    index = np.array([[*c, 1.0] for c in np.ndindex(2, 2, 2)])
    index[:, :3] *= np.array(shape[-3:]) - 1
    return (index @ affine.numpy().T)[:, :3]


def itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [columns, rows, slices] and the corners in RAS of what ITK reads."""
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        picture = reader.Execute()
    else:
        picture = sitk.ReadImage(str(path))
    size = np.array(picture.GetSize()) - 1
    points = [
        picture.TransformIndexToPhysicalPoint([int(n) for n in np.array(c) * size])
        for c in np.ndindex(2, 2, 2)
    ]
    return sitk.GetArrayFromImage(picture).T, np.array(points) * [-1, -1, 1]


def agrees_with_itk(volume: MetaTensor, path: Path) -> None:
    voxels, points = itk(path)
    np.testing.assert_allclose(volume[0].numpy(), voxels, rtol=1e-6)
    np.testing.assert_allclose(corners(volume.affine, volume.shape), points, atol=0.01)


# ------------------------------------------------------------------------------ plain series


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
def test_real_series(shared: Path, name: str) -> None:
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


def test_color_series(tmp_path: Path) -> None:
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


# -------------------------------------------------------------------- several series, patients


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


def test_localizer_only(tmp_path: Path) -> None:
    planes = [make.AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)]

    def change(dataset: object, k: int) -> None:
        dataset.ImageOrientationPatient = list(planes[k % 3])

    turned = make.series(tmp_path / "three planes", noise(), change=change)
    assert "localizer" in refusal(turned)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    assert "localizer" in refusal(make.series(tmp_path / "one", noise(), ImageType=kind))


# --------------------------------------------------------------------- gaps, tilt, duplicates


def test_missing_slice(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise(8, 8, 10), SliceThickness=2.5)
    (folder / f"{(4 * 7919) % 10007:05d}.dcm").unlink()
    assert "lacks about 1 slice" in refusal(folder)


def test_slices_at_the_same_place(tmp_path: Path) -> None:
    folder = make.series(tmp_path / "a", noise(), depths=[0, 2, 4, 4, 6, 8])
    assert "2 different slices" in refusal(folder)


def linear(points: np.ndarray) -> np.ndarray:
    """A function of place (LPS, mm) that linear interpolation reproduces exactly."""
    return 500 + 3.0 * points[..., 0] - 2.0 * points[..., 1] + 4.0 * points[..., 2]


def sampled(
    positions: np.ndarray, rows: int, columns: int, column: np.ndarray | None = None
) -> np.ndarray:
    """Slices of `linear` with 1.5 x 1.25 mm pixels, rows along x."""
    y, x = np.mgrid[:rows, :columns]
    down = np.array([0.0, 1, 0]) if column is None else column
    grid = x[..., None] * np.array([1.25, 0, 0]) + y[..., None] * 1.5 * down
    return linear(grid[None] + positions[:, None, None])


def stored(values: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    return np.round(values * 10).astype(np.int16), {"RescaleSlope": 0.1, "RescaleIntercept": 0.0}


def values_at_voxels(volume: MetaTensor) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape[1:]), indexing="ij"), axis=-1)
    affine = volume.affine.numpy()
    return linear((index @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1])


@pytest.mark.parametrize("degrees", [5.0, -18.0])
def test_gantry_tilt_is_corrected(tmp_path: Path, degrees: float) -> None:
    """Slices tilted about the x axis while the table moves 5 mm along z."""
    tilt = np.deg2rad(degrees)
    column = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    step = np.array([0.0, 0.0, 5.0])
    origin = np.array([-10.0, -12.0, 30.0])
    values = sampled(origin + np.arange(9)[:, None] * step, 40, 20, column)
    pixels, scale = stored(values)
    folder = make.series(
        tmp_path,
        pixels,
        modality="CT",
        orientation=(1, 0, 0, *column),
        origin=origin,
        step=step,
        SliceThickness=5,
        **scale,
    )
    volume = LoadVolume()(folder)
    assert f"{abs(degrees):.1f} degrees" in notes(volume)
    axes = volume.affine[:3, :3].numpy()
    depth = 5 * np.cos(tilt)
    np.testing.assert_allclose(axes.T @ axes, np.diag([1.25**2, 1.5**2, depth**2]), atol=1e-6)
    inside = volume[0].numpy() != volume.min().item()
    assert inside.sum() > 0.9 * values.size
    expected = values_at_voxels(volume)
    # At the rim a voxel lies partly outside its slice; everywhere else the function is exact.
    wrong = np.abs(volume[0].numpy() - expected)[inside] > 0.06
    assert wrong.mean() < 0.06
    shorn = np.abs(volume[0].numpy()[1:-1, 12:-12] - expected[1:-1, 12:-12])
    assert shorn.max() < 0.06


def test_uneven_slices_are_resampled(tmp_path: Path) -> None:
    depths = np.array([0.0, 5, 10, 15, 20, 30, 40, 50])
    thickness = [5.0, 5, 5, 5, 10, 10, 10, 10]
    origin = np.array([-10.0, -12.0, 30.0])
    values = sampled(origin + depths[:, None] * np.array([0, 0, 1.0]), 12, 11)
    pixels, scale = stored(values)

    def change(dataset: object, k: int) -> None:
        dataset.SliceThickness = thickness[k]

    folder = make.series(
        tmp_path, pixels, modality="CT", origin=origin, depths=depths, change=change, **scale
    )
    volume = LoadVolume()(folder)
    assert volume.shape == (1, 11, 12, 11)
    assert "5.00 to 10.00 mm apart" in notes(volume)
    np.testing.assert_allclose(volume[0].numpy(), values_at_voxels(volume), atol=0.06)


def test_rounded_positions_are_still_regular(tmp_path: Path) -> None:
    depths = np.round(np.arange(12) * 1.2345678, 2)
    volume = LoadVolume()(make.series(tmp_path, noise(12, 8, 10), depths=depths))
    assert notes(volume) == ""
    assert volume.shape[-1] == 12


def test_slices_beside_each_other(tmp_path: Path) -> None:
    assert "above each other" in refusal(make.series(tmp_path, noise(), step=(9.0, 0, 1.0)))


# ---------------------------------------------------------------------- time, multi-frame, NM


def dynamic(folder: Path, frames: np.ndarray, durations: list[float]) -> Path:
    for t, slices in enumerate(frames):
        make.series(
            folder / str(t),
            slices,
            modality="PT",
            FrameReferenceTime=1000.0 * (len(frames) - t),
            ActualFrameDuration=int(1000 * durations[t]),
        )
    return folder


def test_dynamic_pet(tmp_path: Path) -> None:
    frames = noise(3, 4, 6, 7)
    folder = dynamic(tmp_path, frames, [10.0, 20.0, 70.0])
    volume = LoadVolume(modality="PET")(folder)
    mean = np.average(frames.astype(float), axis=0, weights=[0.1, 0.2, 0.7])
    np.testing.assert_allclose(volume[0].numpy(), mean.T, rtol=1e-5)
    # The frames are numbered by time, which runs against the order of the files here.
    first = LoadVolume(modality="PET", frames=[0])(folder)
    np.testing.assert_array_equal(first[0].numpy(), frames[2].T)
    assert "frames 0 to 2" in refusal(folder, modality="PET", frames=[3])


def test_mri_with_several_echoes_has_to_choose(tmp_path: Path) -> None:
    first, second = noise(), noise()
    for t, slices in enumerate((first, second)):
        make.series(tmp_path / str(t), slices, EchoNumbers=t + 1, AcquisitionTime=f"12000{t}")
    assert "4-D MR" in refusal(tmp_path, modality="MR")
    volume = LoadVolume(modality="MR", frames=[1])(tmp_path)
    np.testing.assert_array_equal(volume[0].numpy(), second.T)


def test_enhanced_multiframe_against_itk_and_highdicom(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    orientation = np.array(make.oblique())
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.array([5.0, -40, 13]) + np.arange(7)[:, None] * normal * 2.0
    path = make.enhanced(
        tmp_path / "enhanced mr.dcm", noise(7, 8, 10), positions, orientation=orientation
    )
    volume = LoadVolume(modality="MR")(path)
    agrees_with_itk(volume, path)
    other = highdicom.imread(path).get_volume(apply_voi_transform=False)
    flip = np.diag([-1, -1, 1, 1])
    np.testing.assert_allclose(
        np.sort(corners(torch.from_numpy(flip @ other.affine), other.array.shape), axis=0),
        np.sort(corners(volume.affine, volume.shape), axis=0),
        atol=0.01,
    )


def test_enhanced_frames_in_any_order_with_their_own_slopes(tmp_path: Path) -> None:
    pixels = noise(5, 6, 7)
    order = [3, 0, 4, 2, 1]
    positions = np.array([[0.0, 0, 2.0 * k] for k in order])
    slopes = [1.0, 2.0, 0.5, 4.0, 0.25]
    volume = LoadVolume()(make.enhanced(tmp_path / "a.dcm", pixels, positions, slopes=slopes))
    scaled = pixels * np.array(slopes)[:, None, None]
    np.testing.assert_allclose(volume[0].numpy(), scaled[np.argsort(order)].T, rtol=1e-6)


def nuclear(path: Path, pixels: np.ndarray, **tags: object) -> Path:
    detector = make.item(
        ImagePositionPatient=[-30.0, -40, 70],
        ImageOrientationPatient=list(make.AXIAL),
    )
    dataset = make.image(
        pixels,
        modality="NM",
        **{
            "ImageOrientationPatient": None,
            "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            "DetectorInformationSequence": [detector],
            "SpacingBetweenSlices": 3.0,
            "SliceVector": list(range(1, len(pixels) + 1)),
            **tags,
        },
    )
    return make.write(path, dataset)


@pytest.mark.parametrize("spacing", [3.0, -3.0])
def test_nuclear_medicine(tmp_path: Path, spacing: float) -> None:
    pixels = noise(6, 7, 8)
    path = nuclear(tmp_path / "spect.dcm", pixels, SpacingBetweenSlices=spacing)
    volume = LoadVolume(modality="SPECT")(path)
    assert volume.meta["units"] == "counts"
    depths = 70 + spacing * np.arange(6)
    np.testing.assert_allclose(
        volume.affine, [[-1.25, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 3, depths.min()], [0, 0, 0, 1]]
    )
    expected = pixels if spacing > 0 else pixels[::-1]
    np.testing.assert_array_equal(volume[0].numpy(), expected.T)


def test_gated_nuclear_medicine_is_averaged(tmp_path: Path) -> None:
    pixels = noise(8, 7, 8)
    path = nuclear(
        tmp_path / "gated.dcm",
        pixels,
        SliceVector=[1, 2, 3, 4, 1, 2, 3, 4],
        TimeSlotVector=[1, 1, 1, 1, 2, 2, 2, 2],
    )
    volume = LoadVolume()(path)
    np.testing.assert_allclose(volume[0].numpy(), (pixels[:4] / 2 + pixels[4:] / 2).T)


def test_nuclear_medicine_projections(tmp_path: Path) -> None:
    kind = ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]
    assert "not reconstructed" in refusal(nuclear(tmp_path / "a.dcm", noise(), ImageType=kind))


# ---------------------------------------------------------------------------------- bad input


def test_single_slice_of_a_series(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise())
    assert "give the folder" in refusal(folder / "00000.dcm")


def test_text_named_dcm(tmp_path: Path) -> None:
    folder = make.series(tmp_path / "a", noise())
    (folder / "slice99.dcm").write_text("not an image" * 100)
    assert "slice99.dcm is not a DICOM image" in refusal(folder)
    assert "slice99.dcm" in refusal(folder / "slice99.dcm")


@pytest.mark.parametrize("keep", [200, 500, -20])
def test_truncated_slice(tmp_path: Path, keep: int) -> None:
    folder = make.series(tmp_path, noise())
    victim = folder / "00000.dcm"
    victim.write_bytes(victim.read_bytes()[:keep])
    assert "00000.dcm" in refusal(folder)


def test_slice_without_pixels(tmp_path: Path) -> None:
    def change(dataset: object, k: int) -> None:
        if k == 2:
            del dataset.PixelData

    assert "no pixel data" in refusal(make.series(tmp_path, noise(), change=change))


def test_dicom_that_is_no_image(tmp_path: Path) -> None:
    dataset = make.image(noise(8, 8), Rows=None, Columns=None, PixelData=None)
    assert "without pixels" in refusal(make.write(tmp_path / "a.dcm", dataset))
    report = get_testdata_file("test-SR.dcm", download=False)
    assert "Comprehensive SR" in refusal(report)


def test_image_without_a_place(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise(), ImagePositionPatient=None)
    assert "where its pixels lie" in refusal(folder)
    volume = LoadVolume(allow_unknown_geometry=True)(folder)
    assert volume.shape == (1, 10, 8, 6)
    assert (volume.meta["qform_code"], volume.meta["sform_code"]) == (0, 0)
    assert "does not place" in notes(volume)


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "perpendicular"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular"),
        ({"PixelSpacing": [0, 0]}, "where its pixels lie"),
        ({"PixelSpacing": [5000, 5000]}, "cannot be"),
        ({"Rows": 60000, "Columns": 60000}, "more than can be worked on"),
        ({"BitsAllocated": 13}, "pixel data"),
    ],
)
def test_impossible_headers(tmp_path: Path, tags: dict[str, object], word: str) -> None:
    assert word in refusal(make.series(tmp_path, noise(), **tags))


def test_slices_of_two_sizes_and_spacings(tmp_path: Path) -> None:
    make.series(tmp_path / "a" / "1", noise(3, 8, 10))
    make.series(tmp_path / "a" / "2", noise(3, 6, 10), origin=(-20, 35.5, 30))
    assert "6" in refusal(tmp_path / "a")

    def change(dataset: object, k: int) -> None:
        dataset.PixelSpacing = [1, 1 + k]

    assert "pixel spacing" in refusal(make.series(tmp_path / "b", noise(), change=change))


def test_all_zero_pet(tmp_path: Path) -> None:
    folder = make.series(tmp_path, noise() * 0, modality="PT")
    assert "is zero" in refusal(folder)


# ---------------------------------------------------------------------------------------- fuzz


def original(folder: Path, form: str) -> Path:
    """Write a sound series to damage."""
    shutil.rmtree(folder / "fuzz", ignore_errors=True)
    target = folder / "fuzz"
    if form == "series":
        make.series(target, noise(4, 6, 7), modality="PT", Units="BQML", PatientWeight=70)
    elif form == "enhanced":
        make.enhanced(
            target / "00000.dcm", noise(4, 6, 7), np.array([[0.0, 0, 2 * k] for k in range(4)])
        )
    else:
        nuclear(target / "00000.dcm", noise(4, 6, 7))
    return target


def fuzz(folder: Path, form: str, changes: list[tuple[int, int]], cut: int, only: int) -> None:
    target = original(folder, form)
    for victim in sorted(target.iterdir())[only:]:
        data = bytearray(victim.read_bytes())
        for where, what in changes:
            data[132 + where % (len(data) - 132)] = what
        victim.write_bytes(bytes(data[: len(data) - cut]))
    load_or_refuse(target)


def load_or_refuse(target: Path) -> None:
    """Damage ends in a sound volume or in an InputError; anything else fails the test."""
    try:
        volume = LoadVolume()(target)
    except InputError as error:
        volume, message = None, str(error)
    if volume is None:
        assert "fuzz" in message
        assert "\n" not in message
    else:
        assert torch.isfinite(volume).all()
        assert torch.isfinite(volume.affine).all()


STRANGE = ["", "0", "-1", "nan", "inf", "1e308", "-7.5", "99999999999", "a\\b", "ü", "1\\2\\3"]
TOUCHED = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "SamplesPerPixel",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceVector",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelPaddingValue",
    "InstanceNumber",
    "ImageType",
    "Modality",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Units",
    "AcquisitionTime",
    "SeriesTime",
    "FrameReferenceTime",
    "PatientID",
    "SpecificCharacterSet",
    "PerFrameFunctionalGroupsSequence",
    "DetectorInformationSequence",
    "RadiopharmaceuticalInformationSequence",
]


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    form=st.sampled_from(["series", "enhanced", "nuclear"]),
    changes=st.dictionaries(
        st.sampled_from(TOUCHED), st.sampled_from(STRANGE), min_size=1, max_size=3
    ),
    only=st.sampled_from([0, -1]),
)
def test_strange_values(tmp_path: Path, form: str, changes: dict[str, str], only: int) -> None:
    target = original(tmp_path, form)
    for victim in sorted(target.iterdir())[only:]:
        dataset = make.reread(victim)
        for keyword, value in changes.items():
            make.force(dataset, keyword, value)
        dataset.save_as(victim, enforce_file_format=True)
    load_or_refuse(target)


fuzzed = given(
    form=st.sampled_from(["series", "enhanced", "nuclear"]),
    changes=st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), max_size=6),
    cut=st.sampled_from([0, 0, 0, 1, 60, 400]),
    only=st.sampled_from([0, -1]),
)
quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=quiet)
@fuzzed
def test_mutated_headers(
    tmp_path: Path, form: str, changes: list[tuple[int, int]], cut: int, only: int
) -> None:
    fuzz(tmp_path, form, changes, cut, only)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=2000, deadline=None, suppress_health_check=quiet)
@fuzzed
def test_many_mutated_headers(
    tmp_path: Path, form: str, changes: list[tuple[int, int]], cut: int, only: int
) -> None:
    fuzz(tmp_path, form, changes, cut, only)


def test_instances_of_one_series_need_not_have_uids(tmp_path: Path) -> None:
    pixels = noise()
    folder = make.series(tmp_path, pixels, change=lambda d, _: d.update({}))
    for path in folder.iterdir():
        dataset = make.reread(path)
        dataset.SOPInstanceUID = generate_uid()
        dataset.save_as(path)
    np.testing.assert_array_equal(LoadVolume()(folder)[0].numpy(), pixels.T)
