"""Pictures to fuse: how luminance and color part and meet, which are paired, a simulated pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from picture_makers import GRADIENT, saved

from monai_ddfm.apps.demo.pictures import make_picture_pair, simulate_street
from monai_ddfm.data.readers import read_picture
from monai_ddfm.data.writers.pictures import plan_pictures
from monai_ddfm.errors import InputError
from monai_ddfm.metrics import hue_error
from monai_ddfm.modalities import PictureModality
from monai_ddfm.transforms.pictures import ColorizePictured, JoinLuminanced
from monai_ddfm.utils.color import luminance

# --- luminance and color


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


# --- planning


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


# --- the simulated pair


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
