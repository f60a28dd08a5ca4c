"""Pictures that are transparent, call zero white, or were stored turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_makers import COLORS, GRADIENT
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from monai_ddfm.data.readers import read_noted_picture, read_picture
from monai_ddfm.transforms.pictures import LoadPicture
from monai_ddfm.utils.reports import reports_of

LAID = ("what is transparent was laid on black",)
OPACITY = np.linspace(0, 255, GRADIENT.size).reshape(GRADIENT.shape).astype(np.uint8)


def as_rgba(path: Path) -> np.ndarray:
    Image.fromarray(np.dstack([COLORS, OPACITY])).save(path)
    return COLORS * (OPACITY[..., None] / 255)


def as_gray_with_opacity(path: Path) -> np.ndarray:
    Image.fromarray(np.dstack([GRADIENT, OPACITY])).save(path)
    return GRADIENT[..., None] * (OPACITY[..., None] / 255)


def as_palette(path: Path) -> np.ndarray:
    """White is transparent, as programs for slides save it."""
    index = (GRADIENT > 100).astype(np.uint8)
    picture = Image.fromarray(index).convert("P")
    picture.putpalette([255, 255, 255, 200, 30, 0])
    picture.save(path, transparency=0)
    return index[..., None] * np.array([200.0, 30.0, 0.0])


def as_gray_with_a_key(path: Path) -> np.ndarray:
    Image.fromarray(GRADIENT).save(path, transparency=int(GRADIENT[0, 3]))
    return np.where(GRADIENT[0, 3] == GRADIENT, 0, GRADIENT)[..., None]


def as_colors_with_a_key(path: Path) -> np.ndarray:
    Image.fromarray(COLORS).save(path, transparency=tuple(int(v) for v in COLORS[1, 2]))
    hidden = (COLORS[1, 2] == COLORS).all(axis=-1, keepdims=True)
    return np.where(hidden, 0, COLORS)


@pytest.mark.parametrize(
    "write",
    [as_rgba, as_gray_with_opacity, as_palette, as_gray_with_a_key, as_colors_with_a_key],
    ids=lambda write: write.__name__,
)
def test_what_is_transparent_lies_on_black(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    expected = write(path)
    (levels, _), notes = read_noted_picture(path)
    np.testing.assert_allclose(np.moveaxis(levels, 0, -1) * 255, expected, atol=0.51)
    assert notes == LAID
    assert reports_of(LoadPicture()(path))["reading"]["notes"] == list(LAID)


def test_deep_gray_with_a_key(tmp_path: Path) -> None:
    deep = (np.arange(48, dtype=np.uint16) * 1379).reshape(6, 8)
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=int(deep[2, 2]))
    (levels, bits), notes = read_noted_picture(tmp_path / "a.png")
    expected = np.where(deep == deep[2, 2], 0, deep)
    np.testing.assert_array_equal(np.rint(levels[0].astype(np.float64) * 65535), expected)
    assert (bits, notes) == (16, LAID)


def test_an_opacity_that_is_full_says_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([COLORS, np.full_like(GRADIENT, 255)])).save(tmp_path / "a.png")
    (levels, _), notes = read_noted_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(np.moveaxis(levels, 0, -1) * 255, COLORS)
    assert notes == ()


def test_an_opacity_that_is_even_is_noted(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([COLORS, np.full_like(GRADIENT, 51)])).save(tmp_path / "a.png")
    (levels, _), notes = read_noted_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(np.moveaxis(levels, 0, -1) * 255, COLORS)
    assert notes == ("an opacity of 20% everywhere was left out",)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("zero_is_white", [True, False])
def test_zero_may_be_white(kind: type, zero_is_white: bool, tmp_path: Path) -> None:
    white = np.iinfo(kind).max
    stored = (GRADIENT.astype(np.float64) / 255 * white).astype(kind)
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path)
    content = bytearray(path.read_bytes())
    # PhotometricInterpretation: tag 262, SHORT, one value, which is set to 0.
    place = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
    content[place + 8] = 0 if zero_is_white else 1
    path.write_bytes(bytes(content))
    expected = white - stored if zero_is_white else stored
    np.testing.assert_allclose(read_picture(path).levels[0] * white, expected, atol=0.01)


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
@pytest.mark.parametrize("form", ["gray", "deep", "colors"])
def test_turned_pictures_stand_upright(
    orientation: int, compression: str | None, form: str, tmp_path: Path
) -> None:
    stored = {"gray": GRADIENT, "deep": GRADIENT.astype(np.uint16) * 257, "colors": COLORS}[form]
    about = ImageFileDirectory_v2()
    about[274] = orientation
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path, tiffinfo=about, compression=compression)
    levels, bits = read_picture(path)
    found = np.rint(levels.astype(np.float64) * (2**bits - 1))
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(
        found[0] if form != "colors" else np.moveaxis(found, 0, -1), expected
    )


def test_the_small_pictures(shared: Path) -> None:
    pictures = shared / "cases" / "pictures"
    if not pictures.is_dir():
        pytest.skip("no small inputs here")
    pet = read_picture(pictures / "pet_rgba.png").levels
    assert pet[:, 0, 0].tolist() == [0, 0, 0]
    assert read_picture(pictures / "d4b.tif").levels.max() == 1
    assert read_picture(pictures / "x_gray_None_6.tif").levels.shape == (1, 50, 40)
