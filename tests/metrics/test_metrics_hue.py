"""Hue error against the standard library's HSV and cases with known answers."""

from __future__ import annotations

import colorsys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_ddfm.errors import InputError
from monai_ddfm.metrics import HueErrorMetric, hue_angle, hue_error
from monai_ddfm.utils.color import apply_color_table, color_table, merge_chroma

UNIT = st.floats(0, 1, width=32)


def patch(*rgb: float) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 4, 4)


@given(UNIT, UNIT, UNIT)
def test_hue_is_that_of_colorsys(red: float, green: float, blue: float) -> None:
    hue, saturation, value = hue_angle(patch(red, green, blue))
    expected = colorsys.rgb_to_hsv(red, green, blue)
    turn = abs(hue[0, 0, 0].item() / 360 - expected[0])
    assert min(turn, 1 - turn) == pytest.approx(0, abs=1e-9)
    assert saturation[0, 0, 0].item() == pytest.approx(expected[1], abs=1e-9)
    assert value[0, 0, 0].item() == pytest.approx(expected[2], abs=1e-9)


@pytest.mark.parametrize(
    ("fused", "error"),
    [
        ((1, 0, 0), 0),
        ((0.5, 0.2, 0.2), 0),
        ((1, 1, 0), 60),
        ((1, 0, 1), 60),
        ((0, 1, 0), 120),
        ((0, 1, 1), 180),
        ((0.4, 0.4, 0.4), 90),
        ((1, 1, 1), 90),
    ],
)
def test_error_against_red(fused: tuple[float, ...], error: float) -> None:
    assert hue_error(patch(*fused), patch(1, 0, 0)).item() == pytest.approx(error, abs=1e-9)


def test_dark_and_gray_pixels_of_the_source_do_not_count() -> None:
    color = patch(1, 0, 0).clone()
    color[..., 0, :] = torch.tensor([0.1, 0, 0]).view(1, 3, 1)
    color[..., 1, :] = torch.tensor([0.8, 0.75, 0.75]).view(1, 3, 1)
    fused = color.clone()
    fused[..., :2, :] = torch.tensor([0.0, 1, 0]).view(1, 3, 1, 1)
    assert hue_error(fused, color).item() == 0
    fused[..., 2, :] = torch.tensor([0.0, 1, 0]).view(1, 3, 1)
    assert hue_error(fused, color).item() == pytest.approx(60)
    assert hue_error(fused, color, min_value=0.05).item() == pytest.approx(80)
    assert hue_error(patch(1, 0, 0), patch(0.5, 0.5, 0.5)).isnan().all()


def test_new_luminance_under_old_chroma_keeps_the_hue() -> None:
    generator = torch.Generator().manual_seed(0)
    signal, luma = torch.rand(2, 2, 1, 16, 16, generator=generator, dtype=torch.float64)
    color = apply_color_table(signal, color_table("turbo").double())
    fused = merge_chroma(luma.clamp(0.05, 0.95), color)
    assert bool((hue_error(fused, color) < 1e-3).all())


def test_metric_averages_over_images_and_skips_gray_sources() -> None:
    metric = HueErrorMetric()
    fused = torch.cat((patch(1, 1, 0), patch(1, 0, 0), patch(1, 0, 0)))
    color = torch.cat((patch(1, 0, 0), patch(1, 0, 0), patch(0.5, 0.5, 0.5)))
    assert metric(y_pred=fused, y=color).shape == (3, 1)
    assert metric.aggregate().item() == pytest.approx(30)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="different shapes"):
        hue_error(patch(1, 0, 0), patch(1, 0, 0)[..., :2])
    with pytest.raises(InputError, match=r"\[B, 3, ...\]"):
        hue_angle(torch.zeros(1, 1, 4, 4))
    with pytest.raises(InputError, match="color source"):
        HueErrorMetric()(y_pred=patch(1, 0, 0))
