"""Pictures in and out: what is read, how luminance and color part and meet, what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_ddfm.color import luminance
from monai_ddfm.demo.pictures import make_picture_pair, simulate_street
from monai_ddfm.errors import InputError
from monai_ddfm.metrics import hue_error
from monai_ddfm.modality import PictureModality
from monai_ddfm.readers import read_picture
from monai_ddfm.transforms.pictures import (
    ColorizePictured,
    JoinLuminanced,
    LoadPicture,
    LoadPictured,
)
from monai_ddfm.writers import NOTICE
from monai_ddfm.writers.pictures import plan_pictures, write_picture

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLORS = np.stack([GRADIENT, 255 - GRADIENT, np.full_like(GRADIENT, 40)], axis=-1)


def saved(path: Path, array: Any, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


# Reading


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


# Luminance and color


def pair(**shapes: tuple[int, ...]) -> dict[Any, Any]:
    generator = torch.Generator().manual_seed(3)
    return {
        key: MetaTensor(torch.rand(shape, generator=generator), meta={"filename_or_obj": key})
        for key, shape in shapes.items()
    }


def test_the_joined_image_is_the_luminances_in_the_range_of_the_network() -> None:
    case = JoinLuminanced()(pair(fixed=(1, 5, 7), moving=(3, 5, 7)))
    red, green, blue = case["moving"].as_tensor()
    np.testing.assert_allclose(case["image"][0], case["fixed"][0] * 2 - 1, atol=1e-6)
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(case["image"][1], gray * 2 - 1, atol=1e-6)


def test_pictures_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="7 x 5 pixels and moving has 6 x 5"):
        JoinLuminanced()(pair(fixed=(1, 5, 7), moving=(1, 5, 6)))


def test_two_constant_pictures_are_refused() -> None:
    case = {key: MetaTensor(torch.full((1, 4, 4), 0.5)) for key in ("fixed", "moving")}
    with pytest.raises(InputError, match="both constant"):
        JoinLuminanced()(case)


@pytest.mark.parametrize(
    ("modality", "channels", "source"),
    [
        ("IR", (3, 1), "fixed"),
        ("PET", (1, 3), "moving"),
        ("CT", (1, 3), "moving"),
        ("IR", (3, 3), "fixed"),
        ("SPECT", (3, 3), "moving"),
        ("CT", (1, 1), None),
    ],
)
def test_color_comes_from_the_source_that_has_it(
    modality: str, channels: tuple[int, int], source: str | None
) -> None:
    case = pair(fused=(1, 9, 9), fixed=(channels[0], 9, 9), moving=(channels[1], 9, 9))
    result = ColorizePictured(modality, fade=0)(case)
    if source is None:
        assert "fused_rgb" not in result
        return
    rgb = result["fused_rgb"].as_tensor()
    np.testing.assert_allclose(luminance(rgb, dim=0), case["fused"], atol=1e-6)
    assert float(hue_error(rgb[None], case[source][None].as_tensor())) < 0.01
    other = case["moving" if source == "fixed" else "fixed"]
    if len(other) == 3:
        assert float(hue_error(rgb[None], other[None].as_tensor())) > 30


def test_visible_colors_stay_in_the_dark_and_those_of_tracers_fade() -> None:
    dark = torch.tensor([0.03, 0.0, 0.0])[:, None, None]
    case = {"fused": torch.full((1, 1, 1), 0.5), "fixed": dark, "moving": torch.zeros(1, 1, 1)}
    visible = ColorizePictured("IR")(case)["fused_rgb"]
    case = {**case, "fixed": torch.zeros(1, 1, 1), "moving": dark}
    tracer = ColorizePictured("PET")(case)["fused_rgb"]
    assert float(visible[0] - visible[1]) > 3 * float(tracer[0] - tracer[1]) > 0


@pytest.mark.parametrize("name", ["IR", "ir", "infrared", "NM", "pt", " ct "])
def test_modalities_of_pictures_by_name(name: str) -> None:
    assert PictureModality.parse(name).value in ("IR", "SPECT", "PET", "CT")


def test_unknown_modalities_of_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="use CT, PET, SPECT or IR"):
        PictureModality.parse("MR")


# Writing


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


# Planning


def test_two_folders_are_paired_by_name(tmp_path: Path) -> None:
    for folder, suffix in (("a", ".png"), ("b", ".tif")):
        (tmp_path / folder).mkdir()
        for name in ("two", "one"):
            saved(tmp_path / folder / f"{name}{suffix}", GRADIENT)
    (tmp_path / "a" / "notes.txt").write_text("ignored")
    cases = plan_pictures(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert [Path(case["fixed"]).name for case in cases] == ["one.png", "two.png"]
    assert [Path(case["moving"]).name for case in cases] == ["one.tif", "two.tif"]
    assert [case["output"] for case in cases] == [
        str(tmp_path / "out" / f"{name}.png") for name in ("one", "two")
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fixed", "moving", "output", "words"),
    [
        ("a/x.png", "none.png", "f.png", "none.png does not exist"),
        ("a/x.png", "b", "f.png", "two pictures or two folders"),
        ("a/x.png", "b/x.png", "f.nii.gz", "is no name for a picture"),
        ("a/x.png", "b/x.png", "b/x.png", "is one of the sources"),
        ("a/x.png", "a/x.png", "f.png", "is given twice"),
        ("a", "b", "out", "y.png has no partner"),
        ("a", "empty", "out", "holds no pictures"),
        ("b", "b2", "a/x.png", "is a file; give a folder"),
        ("b", "twice", "out", "two pictures of one name"),
        ("a/x.png", "b/x.png", "a/x.png/f.png", "it is a file, so name a folder"),
    ],
)
def test_what_cannot_be_paired_is_refused_before_anything_is_done(
    tmp_path: Path, fixed: str, moving: str, output: str, words: str
) -> None:
    for name in ("a/x.png", "a/y.png", "b/x.png", "b2/x.png", "twice/x.png", "twice/x.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        saved(tmp_path / name, GRADIENT)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=words):
        plan_pictures(tmp_path / fixed, tmp_path / moving, tmp_path / output)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_used_in_a_folder_is_named_before_anything_is_done(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("one", "two", "three"):
            saved(tmp_path / folder / f"{name}.png", GRADIENT)
    whole = (tmp_path / "b" / "two.png").read_bytes()
    (tmp_path / "b" / "two.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"two\.png"):
        plan_pictures(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    saved(tmp_path / "a" / "one.png", GRADIENT[:, :4])
    with pytest.raises(InputError, match=r"one\.png have 4 x 6 and 8 x 6 .* 1 other pair cannot"):
        plan_pictures(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The simulated pair


def test_the_simulated_pair_is_reproducible_and_has_something_to_fuse(tmp_path: Path) -> None:
    made = make_picture_pair(tmp_path, width=96, height=72, seed=4)
    visible, infrared = simulate_street(width=96, height=72, seed=4)
    np.testing.assert_allclose(read_picture(made.visible).levels, visible, atol=0.51 / 255)
    np.testing.assert_allclose(read_picture(made.infrared).levels, infrared, atol=0.51 / 255)
    assert not np.array_equal(simulate_street(width=96, height=72, seed=5)[0], visible)
    person = infrared[0] > 0.85
    gray = luminance(torch.from_numpy(visible), dim=0)[0].numpy()
    # Each source shows what the other does not: the person, and the texture of the walls.
    assert 20 < person.sum() < 400
    assert gray[person].mean() < 0.65
    wall = (slice(30, 45), slice(60, 66))
    assert gray[wall].std() > 2 * infrared[0][wall].std()


def test_a_simulated_pair_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="too small"):
        simulate_street(width=16, height=64)
