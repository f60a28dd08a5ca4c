"""The likelihood that chooses, and the rectifier around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from monai_ddfm.errors import InputError
from monai_ddfm.rectifiers import SaliencyRectifier
from monai_ddfm.saliency import a_trous_pyramid, box_blur, salient_estimate

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def pair(height: int, width: int, seed: int = 0, batch: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, batch, 1, height, width, generator=generator, dtype=torch.float64)
    return tuple(images * 2 - 1)


def test_the_pyramid_equals_an_independent_filter() -> None:
    image, _ = pair(31, 44)
    details, rest = a_trous_pyramid(image, levels=3)
    expected = image[0, 0].numpy()
    for level, detail in enumerate(details):
        kernel = np.zeros(4 * 2**level + 1)
        kernel[:: 2**level] = np.array([1, 4, 6, 4, 1]) / 16
        smooth = expected
        for axis in (0, 1):
            smooth = ndimage.correlate1d(smooth, kernel, axis=axis, mode="nearest")
        np.testing.assert_allclose(detail[0, 0].numpy(), expected - smooth, atol=1e-12)
        expected = smooth
    np.testing.assert_allclose(rest[0, 0].numpy(), expected, atol=1e-12)


@given(SIZES, st.integers(0, 4))
def test_the_pyramid_adds_up_to_the_image(size: tuple[int, int], levels: int) -> None:
    image, _ = pair(*size)
    details, rest = a_trous_pyramid(image, levels=levels)
    assert len(details) == levels
    torch.testing.assert_close(sum(details) + rest, image)


def test_the_blur_equals_an_independent_filter() -> None:
    image, _ = pair(20, 23)
    expected = image[0, 0].numpy()
    for _ in range(2):
        expected = ndimage.uniform_filter(expected, 5, mode="nearest")
    np.testing.assert_allclose(box_blur(image, radius=2)[0, 0].numpy(), expected, atol=1e-12)
    assert torch.equal(box_blur(image, radius=0), image)


@given(SIZES, st.integers(0, 2**16))
def test_the_estimate_lies_between_the_sources(size: tuple[int, int], seed: int) -> None:
    moving, fixed = pair(*size, seed=seed)
    estimate = salient_estimate(moving, fixed)
    assert (estimate <= torch.maximum(moving, fixed)).all()
    assert (estimate >= torch.minimum(moving, fixed)).all()


def test_structure_is_taken_from_the_source_that_has_it() -> None:
    flat = torch.full((1, 1, 64, 64), -0.2, dtype=torch.float64)
    texture, _ = pair(64, 64)
    textured = flat + 0.1 * texture
    for moving, fixed in ((textured, flat), (flat, textured)):
        estimate = salient_estimate(moving, fixed, levels=3, sharpness=8.0)
        details, _ = a_trous_pyramid(estimate, levels=1)
        wanted, _ = a_trous_pyramid(textured, levels=1)
        share = float((details[0] * wanted[0]).sum() / wanted[0].square().sum())
        # The box between the sources cuts some of it: the average has 0.5.
        assert share > 0.75


def test_the_brighter_base_wins_and_equal_sources_stay() -> None:
    dark, bright = (torch.full((1, 1, 16, 16), value) for value in (-0.8, 0.6))
    torch.testing.assert_close(salient_estimate(bright, dark), bright)
    torch.testing.assert_close(salient_estimate(dark, bright), bright)
    image, _ = pair(16, 16)
    torch.testing.assert_close(salient_estimate(image, image), image)


def test_the_rectifier_mixes_within_the_box_and_tells_the_share() -> None:
    moving, fixed = pair(24, 20, batch=3)
    sources = torch.cat([fixed, moving], dim=1)
    x0, _ = pair(24, 20, seed=5, batch=3)
    rectifier = SaliencyRectifier(prior_share=0.4)
    state = rectifier.initial_state(sources)
    result = rectifier.step(x0, sources, state)
    lower, upper = torch.minimum(moving, fixed), torch.maximum(moving, fixed)
    expected = (0.6 * salient_estimate(moving, fixed) + 0.4 * x0).clamp(lower, upper)
    torch.testing.assert_close(result.luminance, expected)
    torch.testing.assert_close(
        fixed + result.weight * (moving - fixed), result.luminance, atol=2e-4, rtol=0
    )
    assert result.x0 is result.luminance or torch.equal(result.x0, result.luminance)


def test_the_prior_acts_and_batches_equal_their_members() -> None:
    moving, fixed = (image.float() for image in pair(24, 20, batch=3))
    sources = torch.cat([fixed, moving], dim=1)
    rectifier = SaliencyRectifier()
    state = rectifier.initial_state(sources)
    dark = rectifier.step(torch.full_like(fixed, -1), sources, state).luminance
    bright = rectifier.step(torch.full_like(fixed, 1), sources, state).luminance
    assert (bright - dark).mean() > 0.1
    for one in range(3):
        alone = rectifier.step(
            torch.full_like(fixed[:1], -1),
            sources[one : one + 1],
            rectifier.initial_state(sources[one : one + 1]),
        )
        assert torch.equal(alone.luminance[0], dark[one])


def test_a_color_image_keeps_its_chroma() -> None:
    moving, fixed = pair(12, 12)
    sources = torch.cat([fixed, moving], dim=1)
    rgb = torch.rand(1, 3, 12, 12, dtype=torch.float64) * 2 - 1
    rectifier = SaliencyRectifier()
    result = rectifier.step(rgb, sources, rectifier.initial_state(sources))
    difference = result.x0 - rgb
    torch.testing.assert_close(difference[:, 0], difference[:, 1])
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    torch.testing.assert_close(
        torch.einsum("bchw,c->bhw", result.x0, weights), result.luminance[:, 0]
    )


@pytest.mark.parametrize(
    "options", [{"prior_share": 1.1}, {"prior_share": -0.1}, {"levels": -1}, {"window": -1}]
)
def test_parameters_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        SaliencyRectifier(**options)
