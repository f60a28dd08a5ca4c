"""Styles of color: what each keeps, that all stay in the gamut, and that the legend is true."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from monai_ddfm.errors import InputError
from monai_ddfm.utils.color import COLOR_TABLES, apply_color_table, color_table, luminance
from monai_ddfm.visualize.color_styles import COLOR_STYLES, ColorStyle, legend_colors
from monai_ddfm.visualize.perceptual import oklab_to_rgb, reduce_chroma, rgb_to_oklab

UNIT = st.floats(0, 1, width=32)
COLOR = st.tuples(UNIT, UNIT, UNIT)


def pixel(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_oklab_of_known_colors() -> None:
    """Values of the author's own table (XYZ of D65 white and the primaries of sRGB)."""
    known = {
        (1.0, 1.0, 1.0): (1.0, 0.0, 0.0),
        (1.0, 0.0, 0.0): (0.6280, 0.2249, 0.1258),
        (0.0, 1.0, 0.0): (0.8664, -0.2339, 0.1795),
        (0.0, 0.0, 1.0): (0.4520, -0.0325, -0.3115),
    }
    for rgb, lab in known.items():
        found = rgb_to_oklab(pixel(*rgb), dim=0)[:, 0]
        np.testing.assert_allclose(found.numpy(), lab, atol=2e-4)


@given(COLOR)
def test_oklab_and_back(color: tuple[float, float, float]) -> None:
    rgb = pixel(*color)
    torch.testing.assert_close(
        oklab_to_rgb(rgb_to_oklab(rgb, dim=0), dim=0), rgb, atol=1e-6, rtol=0
    )


@given(UNIT, st.floats(0, 0.5), st.floats(-math.pi, math.pi))
def test_reducing_chroma_keeps_lightness_and_hue(light: float, chroma: float, hue: float) -> None:
    asked = pixel(light, chroma * math.cos(hue), chroma * math.sin(hue))
    found = reduce_chroma(asked, dim=0)
    rgb = oklab_to_rgb(found, dim=0)
    assert -1e-3 <= float(rgb.min()) <= float(rgb.max()) <= 1 + 1e-4
    assert float(found[0, 0]) == light
    left = float(found[1:].norm())
    assert left <= chroma + 1e-12
    if left > 1e-6:
        turned = math.atan2(float(found[2, 0]), float(found[1, 0])) - hue
        assert abs(math.remainder(turned, math.tau)) < 1e-6
    # No more is given up than need be.
    if left < chroma - 1e-6:
        more = pixel(light, *(1.02 * found[1:, 0] + 1e-3 * asked[1:, 0]).tolist())
        beyond = oklab_to_rgb(more, dim=0)
        assert float(beyond.min()) < 1e-6 or float(beyond.max()) > 1 - 1e-6


@given(UNIT, COLOR, st.sampled_from(COLOR_STYLES), UNIT, UNIT)
def test_every_style_stays_in_the_gamut(
    gray: float, color: tuple[float, float, float], name: str, share: float, opacity: float
) -> None:
    style = ColorStyle(name=name, share=share, opacity=opacity)
    rgb = style.join(pixel(gray), pixel(*color))
    assert 0 <= float(rgb.min()) <= float(rgb.max()) <= 1


@given(UNIT, COLOR)
def test_perceptual_has_the_lightness_and_the_hue_that_were_asked_for(
    gray: float, color: tuple[float, float, float]
) -> None:
    style, rgb = ColorStyle(name="perceptual", fade=0), pixel(*color)
    found = rgb_to_oklab(style.join(pixel(gray), rgb), dim=0)
    own, plain = rgb_to_oklab(rgb, dim=0), rgb_to_oklab(pixel(gray, gray, gray), dim=0)
    asked = (1 - style.share) * plain[0] + style.share * own[0]
    assert float((found[0] - asked).abs()) < 1e-3
    if min(float(found[1:].norm()), float(own[1:].norm())) > 0.02:
        turned = torch.atan2(found[2], found[1]) - torch.atan2(own[2], own[1])
        assert abs(math.remainder(float(turned), math.tau)) < 0.02


@given(UNIT, COLOR)
def test_ycbcr_keeps_the_luminance(gray: float, color: tuple[float, float, float]) -> None:
    rgb = ColorStyle(name="ycbcr").join(pixel(gray), pixel(*color))
    assert float(luminance(rgb, dim=0)) == pytest.approx(gray, abs=1e-6)


@given(UNIT, COLOR, UNIT)
def test_mixed_shares_the_luminance(
    gray: float, color: tuple[float, float, float], share: float
) -> None:
    style, rgb = ColorStyle(name="mixed", color_luminance=share), pixel(*color)
    found = style.join(pixel(gray), rgb)
    asked = (1 - share) * gray + share * float(luminance(rgb, dim=0))
    assert float(luminance(found, dim=0)) == pytest.approx(asked, abs=1e-6)


@given(UNIT, COLOR, UNIT)
def test_mixed_shows_a_part_of_the_chroma(
    gray: float, color: tuple[float, float, float], part: float
) -> None:
    whole, less = (
        ColorStyle(name="mixed", saturation=saturation, fade=0).join(pixel(gray), pixel(*color))
        for saturation in (1.0, part)
    )
    offset = [rgb - luminance(rgb, dim=0) for rgb in (whole, less)]
    assert float((offset[1].norm() - offset[0].norm()).clamp_min(0)) < 1e-6
    free = pixel(*color) - luminance(pixel(*color), dim=0)
    if float(offset[0].norm()) > (1 - 1e-6) * float(free.norm()):  # nothing was cut
        torch.testing.assert_close(offset[1], part * free, atol=1e-6, rtol=0)


@given(UNIT, COLOR, UNIT)
def test_overlay_is_a_mixture_in_rgb(
    gray: float, color: tuple[float, float, float], opacity: float
) -> None:
    found = ColorStyle(name="overlay", opacity=opacity).join(pixel(gray), pixel(*color))
    expected = (1 - opacity) * gray + opacity * pixel(*color)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("style", COLOR_STYLES)
@pytest.mark.parametrize("table", COLOR_TABLES)
def test_the_legend_is_the_style_itself(style: str, table: str) -> None:
    legend = legend_colors(ColorStyle(name=style), table, size=9)
    assert legend.shape == (3, 9, 9)
    assert 0 <= float(legend.min()) <= float(legend.max()) <= 1
    color = apply_color_table(torch.tensor([[0.75]]), color_table(table), dim=0)
    one = ColorStyle(name=style).join(torch.tensor([[0.25]]), color, torch.tensor([[0.75]]))
    torch.testing.assert_close(legend[:, 2, 6], one[:, 0], atol=1e-6, rtol=0)
    # More gray is never darker, at any uptake.
    rising = luminance(legend, dim=0)[0].diff(dim=0)
    assert float(rising.min()) > -1e-5


def test_lightness_and_hue_of_the_perceptual_legend_rise_with_uptake() -> None:
    legend = legend_colors(ColorStyle(name="perceptual"), "inferno", size=65)
    lab = rgb_to_oklab(legend, dim=0)
    assert float(lab[0].diff(dim=1).min()) > 0
    middle = lab[:, 32, 6:63]  # the table itself has no hue at first, and its last steps turn back
    hue = np.unwrap(torch.atan2(middle[2], middle[1]).numpy())
    assert (np.diff(hue) > 0).all()


@pytest.mark.parametrize("name", COLOR_STYLES)
@settings(deadline=None)
@given(seed=st.integers(0, 10))
def test_uptake_is_read_back_through_the_legend(name: str, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    gray, uptake = 0.25 + 0.5 * torch.rand(2, 1, 200, generator=draw)
    style = ColorStyle(name=name)
    shown = style.join(gray, apply_color_table(uptake, color_table("inferno"), dim=0), uptake)
    shown = (shown * 255).round() / 255  # as the files hold it
    legend = legend_colors(style, "inferno", size=128)
    tree = cKDTree(rgb_to_oklab(legend.double(), dim=0).flatten(1).T.numpy())
    _, nearest = tree.query(rgb_to_oklab(shown.double(), dim=0).T.numpy())
    read = (nearest % 128) / 127
    assert np.abs(read - uptake[0].numpy()).max() < 0.1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "loud"}, "color style 'loud' is unknown; use one of mixed, ycbcr, perceptual"),
        ({"fade": 2.0}, "the fade of the color is 2.0"),
        ({"share": -0.1}, "the share of the color is -0.1"),
        ({"opacity": 1.5}, "the opacity of the color is 1.5"),
        ({"saturation": 2.0}, "the saturation of the color is 2.0"),
    ],
)
def test_mistakes_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ColorStyle(**wrong)  # type: ignore[arg-type]
