"""Decoding: every transfer syntax and color space gives the same pixels."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import dicom_makers as make
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from monai_ddfm.data.readers.dicom_files import read_dataset
from monai_ddfm.data.readers.dicom_pixels import decode
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume


def sample(name: str) -> Path:
    """A test file of pydicom or of the package pydicom-data; never downloaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not installed (pip install pydicom-data)")
    return Path(path)


def needs(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def pixels(name: str, index: int = 0) -> np.ndarray:
    path = sample(name)
    return decode(read_dataset(path, pixels=True), path, index)


@pytest.mark.parametrize(
    "name",
    [
        "emri_small_RLE.dcm",
        "emri_small_big_endian.dcm",
        "emri_small_jpeg_2k_lossless.dcm",
        "emri_small_jpeg_ls_lossless.dcm",
    ],
)
def test_enhanced_mr_in_all_transfer_syntaxes(name: str) -> None:
    needs("openjpeg", "jpeg_ls")
    load = LoadVolume(modality="MR", allow_unknown_geometry=True)
    plain = load(sample("emri_small.dcm"))
    assert plain.shape == (1, 64, 64, 10)
    np.testing.assert_array_equal(load(sample(name)).numpy(), plain.numpy())
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(sample("emri_small.dcm")))).T
    np.testing.assert_array_equal(plain[0].numpy(), itk)


def test_enhanced_mr_without_a_place_is_refused() -> None:
    with pytest.raises(InputError, match="where its pixels lie"):
        LoadVolume(modality="MR")(sample("emri_small.dcm"))


def test_an_enhanced_ct_lies_where_itk_puts_it() -> None:
    path = sample("eCT_Supplemental.dcm")
    volume = LoadVolume(modality="CT")(path)
    image = sitk.ReadImage(str(path))
    # Slices are stacked along the normal of this image, which points down, against ITK's order.
    np.testing.assert_array_equal(volume[0].numpy()[..., ::-1], sitk.GetArrayFromImage(image).T)
    corner = image.TransformIndexToPhysicalPoint((511, 511, 1))
    place = volume.affine.numpy() @ [511, 511, 0, 1]
    np.testing.assert_allclose(place[:3], np.array(corner) * [-1, -1, 1], atol=0.01)
    # A perfusion map: it has a rescale slope, but its type is not HU.
    assert volume.meta["units"] == "relative"


@pytest.mark.parametrize(
    ("name", "plain", "tolerance"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm", 0),
        ("MR_small_bigendian.dcm", "MR_small.dcm", 0),
        ("MR_small_implicit.dcm", "MR_small.dcm", 0),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm", 0),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),
        ("693_J2KR.dcm", "693_UNCR.dcm", 0),
        ("MR2_J2KR.dcm", "MR2_UNCR.dcm", 0),
        ("US1_J2KR.dcm", "US1_UNCR.dcm", 0),
        ("SC_rgb_rle.dcm", "SC_rgb.dcm", 0),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_16bit.dcm", 0),
        ("SC_rgb_expb_16bit.dcm", "SC_rgb_16bit.dcm", 0),
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_gdcm2k_uncompressed.dcm", 0),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb.dcm", 0),
        ("SC_ybr_full_uncompressed.dcm", "SC_rgb.dcm", 6),  # the file itself is that far off
        ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_ebcr_dcmd.dcm", 1),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_ebcyn1_dcmd.dcm", 2),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_dcmtk_ebcys4_dcmd.dcm", 2),
        ("OBXXXX1A_rle.dcm", "OBXXXX1A.dcm", 0),
        ("OBXXXX1A_expb.dcm", "OBXXXX1A.dcm", 0),
        ("gdcm-US-ALOKA-16_big.dcm", "gdcm-US-ALOKA-16.dcm", 0),
        ("color-pl.dcm", "color-px.dcm", 0),
    ],
)
def test_same_pixels_whatever_the_encoding(name: str, plain: str, tolerance: float) -> None:
    needs("openjpeg", "jpeg_ls", "gdcm")
    difference = np.abs(pixels(name).astype(float) - pixels(plain).astype(float))
    assert difference.max() <= tolerance


@pytest.mark.parametrize("name", ["JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"])
def test_lossless_jpeg_against_itk(name: str) -> None:
    needs("gdcm")
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(sample(name))))[0]
    np.testing.assert_array_equal(pixels(name), itk)


@pytest.mark.parametrize(
    "name",
    ["OBXXXX1A.dcm", "examples_palette.dcm", "examples_rgb_color.dcm", "SC_rgb.dcm"],
)
def test_colors_against_itk(name: str) -> None:
    path = sample(name)
    image = sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(image)[0].astype(float)
    if expected.max() > 255:
        expected /= 257
    found = pixels(name)
    assert found.shape[-1] == 3
    np.testing.assert_allclose(found, expected, atol=1)


def test_colors_by_name() -> None:
    # The bars of pydicom's test picture, from top to bottom.
    bars = pixels("SC_rgb.dcm")[5::10, 50].round().astype(int)
    red, green, blue = bars[0], bars[2], bars[4]
    np.testing.assert_array_equal([red, green, blue], np.eye(3) * 255)


@pytest.mark.parametrize(
    ("syntax", "module"),
    [(RLELossless, "pydicom"), (JPEGLSLossless, "jpeg_ls"), (JPEG2000Lossless, "openjpeg")],
)
def test_a_compressed_series_has_the_values_of_the_plain_one(
    tmp_path: Path, syntax: str, module: str
) -> None:
    needs(module)
    slices = np.random.default_rng(5).integers(0, 4000, (3, 64, 48), dtype=np.uint16)
    folder = make.series(tmp_path / "plain", slices, modality="CT")
    for path in folder.iterdir():
        dataset = make.reread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    np.testing.assert_array_equal(LoadVolume(modality="CT")(folder)[0].numpy(), slices.T)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("MR_truncated.dcm", "cut off"),
        ("emri_small_jpeg_2k_lossless_too_short.dcm", "emri_small"),
        ("JPGExtended.dcm", "JPEG Extended"),
    ],
)
def test_files_that_cannot_be_decoded(name: str, word: str) -> None:
    path = sample(name)
    with pytest.raises(InputError, match=word):
        decode(read_dataset(path, pixels=True), path, 0)


def test_color_frames_without_a_place() -> None:
    volume = LoadVolume(allow_unknown_geometry=True)(sample("SC_rgb_2frame.dcm"))
    assert volume.shape == (3, 100, 100, 2)
    np.testing.assert_array_equal(volume[:, :, :, 0].numpy(), pixels("SC_rgb.dcm").T)
