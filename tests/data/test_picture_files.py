"""Pictures as files: what is read, and what is written, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_makers import COLORS, GRADIENT, saved
from PIL import Image

from monai_ddfm.data.readers import read_picture
from monai_ddfm.data.writers.pictures import write_picture
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.pictures import LoadPicture, LoadPictured
from monai_ddfm.utils.files import NOTICE

# --- reading


@pytest.mark.parametrize("suffix", [".png", ".tif", ".PNG"])
def test_gray_levels_are_read_exactly(tmp_path: Path, suffix: str) -> None:
    levels, bits = read_picture(saved(tmp_path / f"a{suffix}", GRADIENT))
    assert levels.dtype == np.float32
    assert bits == 8
    np.testing.assert_array_equal(levels[0] * 255, GRADIENT)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_read_exactly(tmp_path: Path, suffix: str) -> None:
    deep = (np.arange(48, dtype=np.uint16) * 1379).reshape(6, 8)
    levels, bits = read_picture(saved(tmp_path / f"a{suffix}", deep))
    assert bits == 16
    np.testing.assert_array_equal(np.rint(levels[0].astype(np.float64) * 65535), deep)


def test_colors_are_read_exactly(tmp_path: Path) -> None:
    levels, bits = read_picture(saved(tmp_path / "a.png", COLORS))
    assert bits == 8
    np.testing.assert_array_equal(np.moveaxis(levels, 0, -1) * 255, COLORS)


def test_colors_that_are_gray_become_one_channel(tmp_path: Path) -> None:
    levels, _ = read_picture(saved(tmp_path / "a.png", np.repeat(GRADIENT[..., None], 3, axis=-1)))
    np.testing.assert_array_equal(levels * 255, GRADIENT[None])


def test_palettes_transparency_and_single_bits_are_understood(tmp_path: Path) -> None:
    flat = Image.fromarray(np.repeat([[[255, 0, 0], [0, 0, 255]]], 2, axis=0).astype(np.uint8))
    flat.quantize(2).save(tmp_path / "palette.png")
    expected = np.moveaxis(np.asarray(flat), -1, 0) / 255
    np.testing.assert_allclose(read_picture(tmp_path / "palette.png").levels, expected)
    transparent = np.dstack([COLORS, np.full(GRADIENT.shape, 9, dtype=np.uint8)])
    levels, _ = read_picture(saved(tmp_path / "alpha.png", transparent))
    np.testing.assert_array_equal(np.moveaxis(levels, 0, -1) * 255, COLORS)
    bits = GRADIENT > 100
    levels, _ = read_picture(saved(tmp_path / "bits.png", bits))
    np.testing.assert_array_equal(levels[0], bits)


def test_jpeg_is_read_as_the_camera_was_held(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees
    smooth = np.linspace(0, 255, 64 * 32).reshape(64, 32).astype(np.uint8)
    path = saved(tmp_path / "a.jpg", smooth, exif=turned, quality=95)
    levels, _ = read_picture(path)
    assert levels.shape == (1, 32, 64)
    np.testing.assert_allclose(levels[0] * 255, np.rot90(smooth, -1), atol=6)


def several(path: Path) -> None:
    frames = [Image.fromarray(GRADIENT), Image.fromarray(GRADIENT)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def cut_short(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:900])


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("none.png", lambda path: None, "is not a file"),
        ("text.png", lambda path: path.write_text("no picture"), "is not a picture known here"),
        ("several.tif", several, "holds 2 pictures"),
        ("cut.png", cut_short, "is damaged or cut short"),
        ("float.tif", lambda p: Image.fromarray(np.ones((4, 4), np.float32)).save(p), "floating"),
        ("deep.tif", lambda p: Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(p), "16"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(
    tmp_path: Path, name: str, make: Any, words: str
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=words) as refused:
        read_picture(path)
    assert str(path) in str(refused.value)


# --- writing


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (1, 16), (3, 8)])
def test_what_is_written_is_read_again(
    tmp_path: Path, suffix: str, channels: int, bits: int
) -> None:
    image = np.random.default_rng(1).random((channels, 12, 10))
    path = tmp_path / f"a{suffix}"
    write_picture(path, image, bits=bits)
    levels, found = read_picture(path)
    assert found == bits
    assert np.abs(levels - image).max() <= 0.51 / (2**bits - 1)


def test_jpeg_is_near_and_values_outside_are_cut_off(tmp_path: Path) -> None:
    smooth = np.linspace(-0.2, 1.2, 3 * 32 * 32).reshape(3, 32, 32)
    write_picture(tmp_path / "a.jpg", smooth)
    np.testing.assert_allclose(read_picture(tmp_path / "a.jpg").levels, smooth.clip(0, 1), atol=0.1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_every_format_says_research_use_only(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, np.full((1, 16, 16), 0.5), title="a title")
    with Image.open(path) as opened:
        places = [*opened.info.values(), *(getattr(opened, "tag_v2", None) or {}).values()]
    said = [p.decode() if isinstance(p, bytes) else str(p) for p in places]
    assert any(f"a title; {NOTICE}" in text for text in said)


def test_pictures_load_with_their_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", GRADIENT)
    loaded = LoadPicture()(path)
    assert loaded.meta["filename_or_obj"] == str(path)
    case = LoadPictured("fixed")({"fixed": str(path), "other": 1})
    np.testing.assert_array_equal(case["fixed"], loaded)
    assert case["other"] == 1
