"""Files in, checked volumes or one clear sentence out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor, decollate_batch, list_data_collate

from monai_ddfm.errors import InputError
from monai_ddfm.reports import reports_of
from monai_ddfm.transforms.loading import CheckSamePatientd, LoadVolume, LoadVolumed

SHAPE = (6, 7, 5)
RNG = np.random.default_rng(7)


def oblique() -> np.ndarray:
    """Voxels of 1.5 x 2 x 3 mm, turned by 20 and 10 degrees."""
    a, b = np.deg2rad([20, 10])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([1.5, 2, 3])
    affine[:3, 3] = [-12.5, 7, 31]
    return affine


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **header) -> Path:
    image = nib.Nifti1Image(array, oblique() if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def save_placed(path: Path, qform: tuple, sform: tuple) -> Path:
    """Save a volume with these (affine, code) pairs."""
    image = nib.Nifti1Image(values(), None)
    image.set_qform(*qform)
    image.set_sform(*sform)
    nib.save(image, path)
    return path


def values() -> np.ndarray:
    return RNG.normal(100, 20, SHAPE).astype(np.float32)


def corners(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.array([[*c, 1.0] for c in np.ndindex(2, 2, 2)])
    index[:, :3] *= np.array(shape[-3:]) - 1
    return (index @ np.asarray(affine).T)[:, :3]


def itk_corners(path: Path) -> np.ndarray:
    image = sitk.ReadImage(str(path))
    size = np.array(image.GetSize()[:3]) - 1
    points = [
        image.TransformIndexToPhysicalPoint([int(n) for n in np.array(c) * size])
        for c in np.ndindex(2, 2, 2)
    ]
    return np.array(points) * [-1, -1, 1]


def refusal(path: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        LoadVolume(**options)(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_formats_agree_with_itk_on_values_and_place(tmp_path: Path, ending: str) -> None:
    expected = values()
    path = tmp_path / f"a volume of Jürgen{ending}"
    if "nii" in ending:
        save(path, expected)
    else:
        image = sitk.GetImageFromArray(expected.T)
        image.SetSpacing((1.5, 2.0, 3.0))
        image.SetOrigin((12.5, -7.0, 31.0))
        image.SetDirection(
            (np.diag([-1, -1, 1]) @ oblique()[:3, :3] / [1.5, 2, 3]).ravel().tolist()
        )
        sitk.WriteImage(image, str(path))
    volume = LoadVolume(modality="MR")(str(path))
    assert volume.shape == (1, *SHAPE)
    assert volume.dtype == torch.float32
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    np.testing.assert_allclose(volume.affine, oblique(), atol=1e-5)
    np.testing.assert_allclose(corners(volume.affine, SHAPE), itk_corners(path), atol=0.01)
    assert volume.meta["filename_or_obj"] == str(path)
    assert volume.meta["modality"] == "MR"
    assert json.loads(volume.meta["source_files"]) == [str(path)]


def test_upper_case_ending_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "x.nii.gz", values()).rename(tmp_path / "X.NII.GZ")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LoadVolume()("~/X.NII.GZ").shape == (1, *SHAPE)


def test_integers_are_scaled_by_the_header(tmp_path: Path) -> None:
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    path = tmp_path / "ct.nii"
    save(path, stored)
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        header["scl_slope"], header["scl_inter"] = 2.0, -1024.0
        stream.seek(0)
        header.write_to(stream)
    volume = LoadVolume(modality="CT")(path)
    np.testing.assert_array_equal(volume[0].numpy(), stored * 2.0 - 1024)
    assert volume.meta["units"] == "HU"


def test_codes_and_fields_of_monai_are_kept(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "a.nii.gz", (oblique(), 1), (oblique(), 4))
    meta = LoadVolume()(path).meta
    assert (int(meta["qform_code"]), int(meta["sform_code"])) == (1, 4)
    np.testing.assert_allclose(meta["original_affine"], oblique(), atol=1e-6)
    assert tuple(meta["spatial_shape"]) == SHAPE
    assert str(meta["space"]) == "RAS"
    assert np.isnan(meta["original_channel_dim"])


def test_big_endian_file_collates(tmp_path: Path) -> None:
    expected = values()
    image = nib.Nifti1Image(expected, oblique(), nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "big.nii")
    case = LoadVolumed(keys=("fixed",))({"fixed": tmp_path / "big.nii"})
    back = decollate_batch(list_data_collate([case]))[0]["fixed"]
    np.testing.assert_array_equal(back[0].numpy(), expected)


def test_metadata_and_reports_survive_collation(tmp_path: Path) -> None:
    paths = {k: save(tmp_path / f"{k}.nii.gz", values()) for k in ("fixed", "moving")}
    case = LoadVolumed(modality={"fixed": "MRI", "moving": "PET"})(paths)
    back = decollate_batch(list_data_collate([case]))[0]["moving"]
    assert isinstance(back, MetaTensor)
    assert reports_of(back)["reading"] == reports_of(case["moving"])["reading"]
    assert back.meta["modality"] == "PET"
    assert case["fixed"].meta["modality"] == "MR"
    torch.testing.assert_close(back.affine, case["moving"].affine)


def test_freesurfer_file(tmp_path: Path) -> None:
    expected = values()
    nib.save(nib.MGHImage(expected, oblique().astype(np.float32)), tmp_path / "brain.mgz")
    case = {"fixed": tmp_path / "brain.mgz"}
    volume = decollate_batch(list_data_collate([LoadVolumed("fixed")(case)]))[0]["fixed"]
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    np.testing.assert_allclose(volume.affine, oblique(), atol=1e-4)


def rgb_bytes() -> np.ndarray:
    return RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["rgb24", "rgba32", "vector", "bytes", "mha", "unit floats"])
def test_rgb(tmp_path: Path, kind: str) -> None:
    rgb = rgb_bytes()
    path = tmp_path / ("rgb.mha" if kind == "mha" else "rgb.nii.gz")
    if kind.startswith("rgb"):
        names = kind[:-2].upper()
        data = np.zeros(SHAPE, dtype=[(c, "u1") for c in names])
        for i, c in enumerate("RGB"):
            data[c] = rgb[..., i]
        save(path, data)
    elif kind == "vector":
        save(path, rgb[..., None, :], intent_code=1007)
    elif kind == "bytes":
        save(path, rgb)
    elif kind == "unit floats":
        save(path, (rgb / 255).astype(np.float32)[..., None, :])
    else:
        sitk.WriteImage(sitk.GetImageFromArray(rgb.transpose(2, 1, 0, 3), isVector=True), path)
    volume = LoadVolume()(path)
    assert volume.shape == (3, *SHAPE)
    np.testing.assert_allclose(volume.numpy(), np.moveaxis(rgb, -1, 0), atol=1e-3)
    assert volume.meta["units"] == "RGB"


def test_rgb_volume_of_the_atlas(shared: Path) -> None:
    path = shared / "data/aanlib_dev/volume/spect_rgb.nii.gz"
    volume = LoadVolume(modality="SPECT")(path)
    raw = np.asanyarray(nib.load(path).dataobj)[:, :, :, 0]
    np.testing.assert_array_equal(volume.numpy(), np.moveaxis(raw, -1, 0))


@pytest.mark.parametrize(("name", "modality"), [("t1", "MR"), ("pet_moved", "PET")])
def test_real_subject_against_itk(shared: Path, name: str, modality: str) -> None:
    path = shared / f"data/mr_pet_subject/{name}.nii.gz"
    volume = LoadVolume(modality=modality)(path)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    np.testing.assert_array_equal(volume[0].numpy(), expected)
    np.testing.assert_allclose(corners(volume.affine, volume.shape), itk_corners(path), atol=0.01)


def test_singleton_fourth_axis(tmp_path: Path) -> None:
    expected = values()
    volume = LoadVolume(modality="MR")(save(tmp_path / "a.nii", expected[..., None]))
    np.testing.assert_array_equal(volume[0].numpy(), expected)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_dynamic_pet_is_averaged_or_chosen(tmp_path: Path, ending: str) -> None:
    frames = RNG.normal(5, 1, (*SHAPE, 4)).astype(np.float32)
    path = tmp_path / f"dyn{ending}"
    if ending == ".nrrd":
        sitk.WriteImage(sitk.GetImageFromArray(frames.T, isVector=False), str(path))
    else:
        save(path, frames)
    mean = LoadVolume(modality="PET")(path)
    np.testing.assert_allclose(mean[0].numpy(), frames.mean(-1), rtol=1e-5)
    assert reports_of(mean)["reading"]["frames"]["used"] == [0, 1, 2, 3]
    some = LoadVolume(modality="PET", frames=[3, 1])(path)
    np.testing.assert_allclose(some[0].numpy(), frames[..., [1, 3]].mean(-1), rtol=1e-5)
    echo = LoadVolume(modality="MR", frames=[2])(path)
    np.testing.assert_array_equal(echo[0].numpy(), frames[..., 2])
    assert "4-D" in refusal(path, modality="MR")
    assert "4-D" in refusal(path)
    assert "frames 0 to 3" in refusal(path, modality="PET", frames=[4])
    assert "frames 0 to 3" in refusal(path, modality="PET", frames=[-1])
    assert "frames 0 to 3" in refusal(path, modality="PET", frames=[])


def test_frames_of_a_still_volume_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "still.nii", values())
    assert "single time frame" in refusal(path, modality="PET", frames=[1])


def test_meters_become_millimetres(tmp_path: Path) -> None:
    affine = oblique()
    affine[:3] /= 1000
    image = nib.Nifti1Image(values(), affine)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    np.testing.assert_allclose(LoadVolume()(tmp_path / "m.nii").affine, oblique(), atol=1e-4)


def test_sform_stands_against_pixdim_and_disagreement_is_reported(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "a.nii", (np.eye(4), 1), (np.diag([2.0, 2, 2, 1]), 1))
    volume = LoadVolume()(path)
    np.testing.assert_array_equal(volume.affine, np.diag([2.0, 2, 2, 1]))
    assert "disagree" in reports_of(volume)["reading"]["notes"][0]


def test_unknown_placement_is_reported(tmp_path: Path) -> None:
    path = save_placed(tmp_path / "a.nii", (None, 0), (None, 0))
    assert "does not place" in reports_of(LoadVolume()(path))["reading"]["notes"][0]


def test_ct_that_was_never_rescaled_is_remarked_on(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii", np.abs(values()))
    notes = reports_of(LoadVolume(modality="CT")(path))["reading"]["notes"]
    assert "Hounsfield" in notes[0]


# ---------------------------------------------------------------------------------- bad input


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nothing.nii.gz")
    for name in ("empty.nii.gz", "empty.dcm", "empty.mha"):
        (tmp_path / name).touch()
        assert "empty file" in refusal(tmp_path / name)
    for name in ("text.nii.gz", "text.nii", "text.mha", "text.nrrd", "text.mgz", "text.dcm"):
        (tmp_path / name).write_text("this is no image\n" * 50)
        assert name in refusal(tmp_path / name)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n" + bytes(500))
    assert "picture.png" in refusal(tmp_path / "picture.png")
    assert "does not exist" in refusal("a\0b.nii")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "folder" in refusal(folder)
    (folder / "readme.txt").write_text("hello")
    save(folder / "a.nii.gz", values())
    assert "a.nii.gz" in refusal(folder)


@pytest.mark.parametrize("keep", [10, 200, 500, -40])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    whole = save(tmp_path / "a.nii.gz", values()).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[:keep])
    assert "cut.nii.gz" in refusal(tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii").write_bytes(gzip.decompress(whole)[:keep])
    assert "cut.nii" in refusal(tmp_path / "cut.nii")
    sitk.WriteImage(sitk.GetImageFromArray(values()), str(tmp_path / "a.mha"))
    whole = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(whole[:keep])
    assert "cut.mha" in refusal(tmp_path / "cut.mha")


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((6, 7), "not a volume"),
        ((6, 7, 1), "not a volume"),
        ((6, 1, 7), "not a volume"),
        ((6, 7, 0), "empty"),
        ((6, 7, 5, 2, 2), "axes"),
        ((6, 7, 5, 1, 4, 2), "axes"),
    ],
)
def test_wrong_shapes(tmp_path: Path, shape: tuple[int, ...], word: str) -> None:
    path = save(tmp_path / "a.nii", RNG.normal(size=shape).astype(np.float32))
    assert word in refusal(path, modality="PET")


def test_wrong_shapes_in_mha(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mha")
    sitk.WriteImage(sitk.GetImageFromArray(values()[0]), path)
    assert "not a volume" in refusal(path)
    sitk.WriteImage(sitk.GetImageFromArray(RNG.normal(size=(4, 5, 6, 2)), isVector=True), path)
    assert "2 values per voxel" in refusal(path)


def test_nan_and_infinite_voxels_are_counted(tmp_path: Path) -> None:
    array = values()
    array[0, 0, :3] = np.nan
    array[1, 1, 1] = np.inf
    message = refusal(save(tmp_path / "a.nii", array))
    assert "3 NaN" in message
    assert "1 infinite" in message
    too_large = save(tmp_path / "b.nii", np.full(SHAPE, 1e300) * values())
    assert "infinite" in refusal(too_large)


def test_constant_and_zero_images(tmp_path: Path) -> None:
    assert "is zero" in refusal(save(tmp_path / "a.nii", np.zeros(SHAPE)), modality="PET")
    assert "is 4.5" in refusal(save(tmp_path / "a.nii", np.full(SHAPE, 4.5)))


def test_complex_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", (values() + 1j * values()).astype(np.complex64))
    assert "complex" in refusal(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (((0, 0), 0.0), "cannot be"),
        (((0, 3), np.nan), "finite"),
        (((0, 1), 0.2), "sheared"),
        (((2, 2), 5000.0), "cannot be"),
        (((0, slice(0, 3)), 0.0), "singular"),
    ],
)
def test_broken_affines(tmp_path: Path, change: tuple, word: str) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    if word == "singular":
        affine[:3, :3] = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    else:
        affine[change[0]] = change[1]
    path = save(tmp_path / "a.nii", values(), np.eye(4))
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
        header["sform_code"] = 1
        stream.seek(0)
        stream.write(header.binaryblock)
    assert word in refusal(path)


def test_zero_voxel_size_without_sform(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values(), np.eye(4))
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream, check=False)
        header["sform_code"], header["qform_code"], header["pixdim"][3] = 0, 0, 0.0
        stream.seek(0)
        stream.write(header.binaryblock)
    assert "size of zero" in refusal(path)


def test_absurd_size_is_refused_before_reading(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values())
    with path.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream, check=False)
        header["dim"][1:4] = 30000
        stream.seek(0)
        stream.write(header.binaryblock)
    assert "more than can be worked on" in refusal(path)


def test_impossible_hounsfield_units(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values() * 1e6)
    assert "Hounsfield" in refusal(path, modality="CT")


def test_unknown_modality_and_options() -> None:
    with pytest.raises(InputError, match="X-ray"):
        LoadVolume(modality="X-ray")
    with pytest.raises(InputError, match="no keys"):
        LoadVolumed(keys=("fixed",), modality={"moving": "PET"})
    with pytest.raises(InputError, match="one value"):
        LoadVolumed(keys=("fixed", "moving"), modality=["PET"])


def test_unreadable_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values())
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        assert "cannot be opened" in refusal(path)
    else:
        pytest.skip("this user may read everything")
    finally:
        path.chmod(0o600)


# ------------------------------------------------------------------------------- two patients


def pair(fixed_id: str, moving_id: str) -> dict[str, MetaTensor]:
    return {
        key: MetaTensor(torch.rand(1, 3, 3, 3), meta={"patient_id": name, "filename_or_obj": key})
        for key, name in (("fixed", fixed_id), ("moving", moving_id))
    }


def test_patients_are_compared() -> None:
    check = CheckSamePatientd()
    assert reports_of(check(pair("12", "12 "))["moving"])["patient"]["same"] is True
    assert reports_of(check(pair("12", ""))["moving"])["patient"]["same"] is None
    with pytest.raises(InputError, match="different patients") as caught:
        check(pair("12", "13"))
    assert "13" not in str(caught.value)
    allowed = CheckSamePatientd(allow_mismatch=True)(pair("12", "13"))["moving"]
    assert reports_of(allowed)["patient"] == {"same": False, "mismatch_allowed": True}


# ---------------------------------------------------------------------------------------- fuzz


def load_or_refuse(path: Path) -> None:
    """A damaged file ends in a sound volume or in an InputError; anything else fails the test."""
    try:
        volume = LoadVolume(modality="PET")(path)
    except InputError as error:
        volume, message = None, str(error)
    if volume is None:
        assert path.name in message
        assert "\n" not in message
    else:
        assert torch.isfinite(volume).all()
        assert torch.isfinite(volume.affine).all()


def mutate(path: Path, changes: list[tuple[int, int]], ending: int) -> None:
    data = bytearray(path.read_bytes())
    for where, what in changes:
        data[where % min(len(data), 352)] = what
    path.write_bytes(bytes(data[: len(data) - ending]))


CHANGES = st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6)


def fuzz_nifti(folder: Path, changes: list[tuple[int, int]], ending: int, form: str) -> None:
    path = folder / f"fuzz{form}"
    if form == ".nii":
        save(path, values())
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values()), str(path))
    mutate(path, changes, ending)
    load_or_refuse(path)


fuzzed = given(
    changes=CHANGES,
    ending=st.sampled_from([0, 0, 1, 100, 800]),
    form=st.sampled_from([".nii", ".nii", ".mha", ".nrrd"]),
)
quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=quiet)
@example(changes=[(42, 0x80), (43, 0x80)], ending=0, form=".nii")
@example(changes=[(70, 0), (71, 0)], ending=0, form=".nii")
@fuzzed
def test_mutated_headers(
    tmp_path: Path, changes: list[tuple[int, int]], ending: int, form: str
) -> None:
    fuzz_nifti(tmp_path, changes, ending, form)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=quiet)
@fuzzed
def test_many_mutated_headers(
    tmp_path: Path, changes: list[tuple[int, int]], ending: int, form: str
) -> None:
    fuzz_nifti(tmp_path, changes, ending, form)
