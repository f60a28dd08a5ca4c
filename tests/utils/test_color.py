"""BT.601 conversions, gamut-keeping merge of chroma, pseudo-color tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from color_checks import random_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr, ycbcr2rgb

from monai_ddfm.errors import InputError
from monai_ddfm.utils.color import (
    COLOR_TABLES,
    apply_color_table,
    color_table,
    luminance,
    merge_chroma,
    rgb_to_ycbcr,
    rgb_to_ycbcr_limited,
    white_level,
    ycbcr_limited_to_rgb,
    ycbcr_to_rgb,
)

CORNERS = torch.tensor(
    [[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)], dtype=torch.float64
)
FORMS = [(rgb_to_ycbcr, ycbcr_to_rgb), (rgb_to_ycbcr_limited, ycbcr_limited_to_rgb)]
seeds = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize(("forward", "backward"), FORMS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_round_trip_both_ways(forward, backward, dtype, error, dim):
    rgb = random_rgb(1, 3, 3, 17, 3, dtype=dtype)
    there = forward(rgb, dim=dim)
    assert there.dtype == dtype
    assert there.shape == rgb.shape
    torch.testing.assert_close(backward(there, dim=dim), rgb, atol=error, rtol=0)
    torch.testing.assert_close(forward(backward(rgb, dim=dim), dim=dim), rgb, atol=error, rtol=0)


def test_full_range_of_the_cube_corners():
    ycbcr = rgb_to_ycbcr(CORNERS)
    assert ycbcr.amin(0).tolist() == pytest.approx([0, 0, 0], abs=1e-15)
    assert ycbcr.amax(0).tolist() == pytest.approx([1, 1, 1], abs=1e-15)
    blue, red = ycbcr[1].tolist(), ycbcr[4].tolist()
    assert blue == pytest.approx([0.114, 1.0, 0.5 - 0.114 / 1.402])
    assert red == pytest.approx([0.299, 0.5 - 0.299 / 1.772, 1.0])


def test_grey_has_neutral_chroma():
    grey = torch.linspace(0, 1, 11, dtype=torch.float64).expand(3, -1).movedim(0, 1)
    ycbcr = rgb_to_ycbcr(grey)
    torch.testing.assert_close(ycbcr[:, 0], grey[:, 0])
    torch.testing.assert_close(ycbcr[:, 1:], torch.full((11, 2), 0.5, dtype=torch.float64))


def test_limited_range_equals_scikit_image():
    rgb = random_rgb(2, 40, 30, 3)
    ours = rgb_to_ycbcr_limited(rgb, dim=-1)
    theirs = rgb2ycbcr(rgb.numpy())
    np.testing.assert_allclose(ours.numpy() * 255, theirs, atol=1e-11)
    back = ycbcr_limited_to_rgb(ours, dim=-1)
    np.testing.assert_allclose(back.numpy(), ycbcr2rgb(theirs), atol=1e-12)


def test_limited_range_is_the_studio_range():
    levels = rgb_to_ycbcr_limited(CORNERS) * 255
    torch.testing.assert_close(levels.amin(0), torch.tensor([16.0, 16, 16], dtype=torch.float64))
    torch.testing.assert_close(levels.amax(0), torch.tensor([235.0, 240, 240], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_function_keeps_the_type(dtype):
    rgb = random_rgb(3, 2, 3, 8, 8, dtype=dtype)
    luma = luminance(rgb)
    results = [rgb_to_ycbcr(rgb), ycbcr_to_rgb(rgb), rgb_to_ycbcr_limited(rgb)]
    results += [ycbcr_limited_to_rgb(rgb), merge_chroma(luma, rgb)]
    results += [apply_color_table(luma, color_table("pet"))]
    for result in results:
        assert result.dtype == dtype
        assert result.shape == rgb.shape
        assert result.isfinite().all()


@pytest.mark.parametrize(
    "function", [luminance, rgb_to_ycbcr, ycbcr_to_rgb, rgb_to_ycbcr_limited, ycbcr_limited_to_rgb]
)
def test_refuses_what_is_not_rgb(function):
    with pytest.raises(ValueError, match="3 channels along 1"):
        function(torch.zeros(1, 4, 5, 5))
    with pytest.raises(ValueError, match="floating point"):
        function(torch.zeros(1, 3, 5, 5, dtype=torch.uint8))


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_merge_keeps_luminance_and_hue_and_stays_in_the_gamut(seed):
    rgb = random_rgb(seed, 1, 3, 200)
    luma = random_rgb(seed + 1, 1, 1, 200)
    merged = merge_chroma(luma, rgb)
    assert merged.min() >= 0
    assert merged.max() <= 1
    torch.testing.assert_close(luminance(merged), luma, atol=1e-12, rtol=0)
    # The offsets from grey are parallel: cross product zero, scalar product not negative.
    before, after = rgb - luminance(rgb), merged - luma
    assert torch.linalg.cross(before, after, dim=1).abs().max() < 1e-12
    assert (before * after).sum(1).min() > -1e-12
    # As much saturation as the gamut allows: unscaled, or touching a face of the cube.
    kept = ((after - before).abs().amax(1) < 1e-9).squeeze()
    touching = ((merged.amax(1) > 1 - 1e-9) | (merged.amin(1) < 1e-9)).squeeze()
    assert (kept | touching).all()


def test_merge_of_an_image_with_its_own_luminance_is_the_image():
    rgb = random_rgb(4, 2, 3, 9, 9)
    torch.testing.assert_close(merge_chroma(luminance(rgb), rgb), rgb, atol=1e-12, rtol=0)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_merge_leaves_black_black_and_white_white(level):
    luma = torch.full((1, 1, 8), level, dtype=torch.float64)
    merged = merge_chroma(luma, CORNERS.T[None])
    torch.testing.assert_close(merged, luma.expand(1, 3, 8), atol=1e-15, rtol=0)


def test_merge_with_black_or_without_strength_is_grey():
    luma = random_rgb(5, 1, 1, 50)
    grey = luma.expand(1, 3, 50)
    torch.testing.assert_close(merge_chroma(luma, torch.zeros_like(grey)), grey)
    torch.testing.assert_close(merge_chroma(luma, random_rgb(6, 1, 3, 50), strength=0.0), grey)


def test_tables_are_the_dicom_palettes():
    # Spot values of DICOM PS3.6, annex B.
    expected = {
        "hot_iron": {0: (0, 0, 0), 1: (2, 0, 0), 128: (255, 0, 0), 255: (255, 255, 255)},
        "pet": {0: (0, 0, 0), 1: (0, 2, 1), 128: (128, 0, 255), 255: (255, 255, 255)},
        "hot_metal_blue": {0: (0, 0, 0), 1: (0, 0, 2), 255: (255, 255, 255)},
        "pet_20_step": {0: (0, 0, 0), 128: (80, 192, 80), 255: (255, 255, 255)},
    }
    for name, entries in expected.items():
        table = (color_table(name) * 255).round().int()
        assert {index: tuple(table[index].tolist()) for index in entries} == entries
    assert len(color_table("pet_20_step").unique(dim=0)) == 20


@pytest.mark.parametrize("name", COLOR_TABLES)
def test_tables_are_whole_and_private(name):
    table = color_table(name)
    assert table.shape == (256, 3)
    assert table.dtype == torch.float32
    assert table.min() >= 0
    assert table.max() <= 1
    again = color_table(name.upper().replace("_", "-"))
    table.zero_()
    assert again.any()
    assert color_table(name).equal(again)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_white_is_told_by_the_largest_value(white):
    rgb = random_rgb(8, 3, 50) * white
    assert white_level(rgb) == white
    assert white_level(1.05 * rgb) == white
    with pytest.raises(InputError, match=r"pet.nii has RGB values up to .*8 or 16 bits"):
        white_level(rgb * 2e5, name="pet.nii")


def test_unknown_table_lists_the_known():
    with pytest.raises(InputError, match=r"'rainbow' is unknown.*pet, hot_iron.*viridis"):
        color_table("rainbow")


def test_table_entries_are_hit_exactly():
    table = color_table("turbo")
    scalar = (torch.arange(256) / 255)[None, None]
    for interpolate in (True, False):
        colored = apply_color_table(scalar, table, interpolate=interpolate)
        torch.testing.assert_close(colored[0].T, table, atol=1e-5, rtol=0)


def test_table_between_entries():
    table = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 1]])
    scalar = torch.tensor([0.25, 0.6, -3.0, 7.0, float("nan")])[None, None]
    smooth = apply_color_table(scalar, table)[0].T
    expected = torch.tensor([[0.5, 0, 0], [1, 0.2, 0.2], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    torch.testing.assert_close(smooth, expected)
    nearest = apply_color_table(scalar, table, interpolate=False)[0].T
    torch.testing.assert_close(nearest[:2], table[[0, 1]])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_table_puts_channels_where_they_were(dim):
    shape = [4, 5, 6]
    shape[dim] = 1
    scalar = torch.rand(shape)
    colored = apply_color_table(scalar, color_table("hot_iron"), dim=dim)
    assert colored.shape[dim] == 3
    # Red is the lower half of hot iron, so it rises with the scalar.
    torch.testing.assert_close(
        colored.select(dim, 0), (scalar.squeeze(dim) * 2).clamp(0, 1), atol=0.01, rtol=0
    )
    with pytest.raises(ValueError, match="1 channel"):
        apply_color_table(torch.rand(2, 2, 2), color_table("pet"), dim=dim)


def test_nothing_is_fetched_from_another_device():
    # The meta device has no values, so that anything that leaves it fails.
    rgb = torch.empty(2, 3, 4, 5, device="meta")
    luma = luminance(rgb)
    results = [rgb_to_ycbcr(rgb), ycbcr_to_rgb(rgb), rgb_to_ycbcr_limited(rgb)]
    results += [ycbcr_limited_to_rgb(rgb), merge_chroma(luma, rgb, strength=luma)]
    results += [apply_color_table(luma, color_table("pet").to("meta"))]
    assert all(result.is_meta and result.shape == rgb.shape for result in results)


@pytest.mark.gpu
def test_everything_stays_on_the_device():
    rgb = random_rgb(7, 2, 3, 16, 16, dtype=torch.float32)
    on_device = rgb.cuda()
    merged = merge_chroma(luminance(on_device), ycbcr_to_rgb(rgb_to_ycbcr(on_device)))
    colored = apply_color_table(luminance(on_device), color_table("pet"))
    assert merged.is_cuda
    assert colored.is_cuda
    torch.testing.assert_close(merged.cpu(), rgb, atol=1e-5, rtol=0)
    expected = apply_color_table(luminance(rgb), color_table("pet"))
    torch.testing.assert_close(colored.cpu(), expected, atol=1e-3, rtol=0)
