"""Pseudo-color, and luminance and chroma split and merged."""

from __future__ import annotations

import pytest
import torch
from color_checks import SHAPE, hue_error, luminance_error, random, spread
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.color import (
    MergeChroma,
    MergeChromad,
    PseudoColor,
    PseudoColord,
    SplitLuminanceChroma,
    SplitLuminanceChromad,
)
from monai_ddfm.utils.color import color_table


def test_pseudo_color_spans_the_table():
    scalar = torch.linspace(-1, 1, 256).reshape(1, 256, 1, 1)
    rgb = PseudoColor("hot_iron")(scalar)
    torch.testing.assert_close(
        rgb.as_tensor()[:, :, 0, 0].T, color_table("hot_iron"), atol=1e-4, rtol=0
    )
    case = PseudoColord("moving", "hot_iron")({"moving": scalar, "fixed": scalar})
    assert case["moving"].equal(rgb)
    assert case["fixed"] is scalar
    with pytest.raises(InputError, match="'sunset' is unknown"):
        PseudoColord("moving", "sunset")


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_split_and_merge_is_a_round_trip(white):
    rgb = random(3)
    rgb[:, 0, 0, 0] = 1  # so that white is known
    luma, chroma = SplitLuminanceChroma()(rgb * white)
    assert luma.shape == (1, *SHAPE)
    assert chroma.shape == (2, *SHAPE)
    for part in (luma, chroma):
        assert 0 <= part.min() <= part.max() <= 1
    merged = MergeChroma()(luma, chroma)
    torch.testing.assert_close(merged.as_tensor(), rgb.as_tensor(), atol=1e-5, rtol=0)
    assert merged.meta["filename_or_obj"] == "scan.nii.gz"
    torch.testing.assert_close(merged.affine, rgb.affine)


def test_split_and_merge_of_dictionaries():
    case = SplitLuminanceChromad("moving")({"moving": random(3)})
    assert set(case) == {"moving", "moving_luminance", "moving_chroma"}
    merge = MergeChromad("moving_luminance", "moving_chroma", output_keys="again")
    again = merge(case)["again"]
    torch.testing.assert_close(again.as_tensor(), case["moving"].as_tensor(), atol=1e-5, rtol=0)
    replaced = MergeChromad("moving_luminance", "moving", fade=0)(case)["moving_luminance"]
    torch.testing.assert_close(replaced.as_tensor(), again.as_tensor(), atol=1e-5, rtol=0)


@given(seed=st.integers(0, 2**31 - 1), fade=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=20, deadline=None)
def test_merge_keeps_luminance_and_hue(seed, fade):
    luma, color = random(1, seed), random(3, seed + 1)
    merged = MergeChroma(fade=fade)(luma, color)
    assert merged.min() >= 0
    assert merged.max() <= 1
    assert luminance_error(merged, luma) < 1e-5
    colored = spread(merged) > 0.02
    assert hue_error(merged, color, colored).max() < 0.1


def test_merge_fades_in_the_dark():
    luma = MetaTensor(torch.full((1, 101), 0.5))
    brightness = torch.linspace(0, 1, 101)[None]
    violet = torch.tensor([0.3, 0.0, 0.4])[:, None].expand(3, 101)
    colored = spread(MergeChroma(fade=0.2)(luma, violet, brightness))
    assert colored[0] == 0
    assert (colored.diff() >= 0).all()
    assert colored.diff().max() < 0.05
    assert colored[20:].tolist() == pytest.approx([0.4] * 81, abs=1e-6)


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="fade of the color is 2"):
        MergeChroma(fade=2)
    with pytest.raises(ValueError, match="grids differ"):
        MergeChroma()(random(1), torch.zeros(3, 2, 2, 2))
    with pytest.raises(ValueError, match="expected RGB"):
        SplitLuminanceChroma()(random(1))
