"""Channels of the observer: their bands, their norm, and what they give of an image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import LIGHTNESS_WIDTHS, Channels, channel_outputs, templates

pytestmark = pytest.mark.usefixtures("one_thread_throughout")

seeds = st.integers(0, 2**31 - 1)
MIDDLE = torch.tensor([[40, 40]])


def test_templates_have_unit_norm_and_do_not_see_a_uniform_image() -> None:
    bank = templates(Channels())
    assert bank.shape == (len(LIGHTNESS_WIDTHS), 64, 64)
    torch.testing.assert_close(bank.flatten(1).norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert float(bank.sum((1, 2)).abs().max()) < 1e-12
    uniform = torch.full((1, 80, 80), 0.7)
    assert float(channel_outputs(uniform, MIDDLE, channels=Channels()).abs().max()) < 1e-12


def test_templates_are_the_difference_of_two_gaussians_in_space() -> None:
    # The transform of exp(-f^2 / 2 s^2) is 2 pi s^2 exp(-2 pi^2 s^2 r^2), without any FFT.
    width, ratio = 0.065, 1.67
    offset = np.arange(64) - 32
    square = offset[:, None] ** 2 + offset**2

    def gaussian(s: float) -> np.ndarray:
        return 2 * math.pi * s**2 * np.exp(-2 * math.pi**2 * s**2 * square)

    expected = gaussian(ratio * width) - gaussian(width)
    expected /= np.linalg.norm(expected)
    found = templates(Channels(widths=(width,), ratio=ratio))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_only_neighbors_overlap_much() -> None:
    flat = templates(Channels()).flatten(1)
    overlap = flat @ flat.T
    for first in range(4):
        for second in range(first):
            limit = {1: 0.67, 2: 0.22}.get(first - second, 0.05)
            assert float(overlap[first, second]) < limit


def test_white_noise_keeps_its_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 66, 66, generator=generator)
    outputs = channel_outputs(noise, torch.tensor([[33, 33]]), channels=Channels())[:, 0]
    np.testing.assert_allclose(outputs.std(0).numpy(), np.ones(4), rtol=0.07)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, scale=st.floats(-3, 3), shift=st.floats(-3, 3))
def test_outputs_are_linear_and_ignore_a_shift(seed: int, scale: float, shift: float) -> None:
    image = torch.rand(1, 80, 70, generator=torch.Generator().manual_seed(seed)).double()
    places = torch.tensor([[5, 5], [40, 33], [79, 69]])
    found = channel_outputs(scale * image + shift, places, channels=Channels())
    expected = scale * channel_outputs(image, places, channels=Channels())
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_a_place_is_the_center_of_its_patch() -> None:
    image = torch.zeros(2, 90, 80)
    image[1, 41, 37] = 1
    outputs = channel_outputs(image, torch.tensor([[41, 37], [41, 38]]), channels=Channels())
    bank = templates(Channels())
    torch.testing.assert_close(outputs[1, 0], bank[:, 32, 32])
    torch.testing.assert_close(outputs[1, 1], bank[:, 32, 31])
    assert float(outputs[0].abs().max()) == 0


def test_the_border_is_mirrored() -> None:
    image = torch.rand(1, 50, 50, generator=torch.Generator().manual_seed(1)).double()
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (32, 32), (32, 32)), mode="reflect"))
    inside = channel_outputs(image, torch.tensor([[0, 49]]), channels=Channels())
    outside = channel_outputs(padded, torch.tensor([[32, 81]]), channels=Channels())
    torch.testing.assert_close(inside, outside)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"widths": ()}, "channel widths"),
        ({"widths": (0.1, -0.1)}, "channel widths"),
        ({"ratio": 1.0}, "channel ratio"),
        ({"patch": 63}, "patch of 63"),
    ],
)
def test_refuses_unusable_channels(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Channels(**given)  # type: ignore[arg-type]


def test_refuses_small_images_and_places_outside() -> None:
    with pytest.raises(InputError, match="32 x 80 pixels is too small"):
        channel_outputs(torch.zeros(1, 80, 32), MIDDLE, channels=Channels())
    with pytest.raises(InputError, match="outside the image"):
        channel_outputs(torch.zeros(1, 80, 80), torch.tensor([[80, 0]]), channels=Channels())
