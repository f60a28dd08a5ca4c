"""The color of several moving volumes: what a CT changes, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source
from monai_ddfm.transforms.colorize import ColorizeFusiond
from monai_ddfm.utils.color import luminance
from monai_ddfm.visualize.color_styles import COLOR_STYLES

PET = Source(modality=Modality.PET, name="pet")
CT = Source(modality=Modality.CT, name="ct")
SOFT, CORTEX = 0.2, 0.95


def colored(style: str, fused: Any, mri: Any, uptake: Any, ct: Any = None) -> torch.Tensor:
    """Color gray levels [n] in [0, 1] with a PET, or with a PET and a CT; RGB [3, n]."""
    gray = [torch.as_tensor(one, dtype=torch.float32)[None, :, None] for one in (mri, uptake)]
    case: dict[Any, Any] = {
        "fused": MetaTensor(torch.as_tensor(fused, dtype=torch.float32)[None, :, None]),
        "image": torch.cat(gray) * 2 - 1,
    }
    if ct is None:
        case["moving_scaled"] = gray[1] * 2 - 1
        return ColorizeFusiond("PET", color_style=style)(case)["fused_rgb"].as_tensor()[..., 0]
    case[PET.scaled_key] = gray[1] * 2 - 1
    case[CT.scaled_key] = torch.as_tensor(ct, dtype=torch.float32)[None, :, None] * 2 - 1
    return ColorizeFusiond([PET, CT], color_style=style)(case)["fused_rgb"].as_tensor()[..., 0]


def spread(rgb: torch.Tensor) -> torch.Tensor:
    """How far colors are from gray, [n]."""
    return rgb.amax(0) - rgb.amin(0)


@pytest.mark.parametrize("style", COLOR_STYLES)
def test_outside_bone_the_color_is_read_as_without_a_ct(style: str) -> None:
    fused, mri, uptake = torch.rand(3, 200, generator=torch.Generator().manual_seed(5))
    with_ct = colored(style, fused, mri, uptake, torch.full((200,), SOFT))
    torch.testing.assert_close(with_ct, colored(style, fused, mri, uptake), atol=1e-6, rtol=0)


@pytest.mark.parametrize("style", ["mixed", "ycbcr", "perceptual"])
def test_bone_without_uptake_is_neutral_and_lighter_than_without_a_ct(style: str) -> None:
    fused, mri, uptake = torch.full((6,), 0.9), torch.zeros(6), torch.linspace(0, 0.15, 6)
    bone = colored(style, fused, mri, uptake, torch.full((6,), CORTEX))
    assert float(spread(bone).max()) < 0.01
    plain = colored(style, fused, mri, uptake)
    assert float((luminance(bone, dim=0) - luminance(plain, dim=0)).min()) > -1e-6
    if style == "mixed":
        # (1 - .6 k) of the gray picture, which is the fusion but for half of the MRI's share
        assert float(luminance(bone, dim=0)[0, 0]) == pytest.approx(0.7 * 0.85 * 0.9, abs=0.01)


@pytest.mark.parametrize("style", ["mixed", "ycbcr", "perceptual"])
def test_a_hot_lesion_of_bone_is_hot(style: str) -> None:
    uptake = torch.tensor([0.1, 0.4, 0.6, 0.75])
    bone = colored(style, torch.full((4,), 0.7), torch.zeros(4), uptake, torch.full((4,), CORTEX))
    chroma = spread(bone)
    assert float(chroma[0]) < 0.01
    assert float(chroma[1:].min()) > 0.2
    assert float((bone[0] - bone[2])[2:].min()) > 0.2  # red and orange, not blue


def test_in_an_overlay_bone_is_white() -> None:
    bone = colored("overlay", [0.9], [0.0], [0.0], [CORTEX])
    assert float(spread(bone)) < 1e-6
    assert float(bone[0, 0]) == pytest.approx(CORTEX / 2, abs=0.01)
