"""The likelihood that chooses, and the rectifier around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.noise_level import smooth_windows
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import SaliencyRectifier
from monai_ddfm.likelihoods.saliency import (
    SaliencyParameters,
    a_trous_pyramid,
    box_blur,
    likelihood_mode,
    scale_choice,
    voxel_choice,
)

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


CHOICES = st.builds(
    SaliencyParameters,
    scale_share=st.sampled_from([0.0, 0.3, 1.0]),
    brightness_blur=st.sampled_from([0.0, 0.7, 2.5]),
    structure=st.sampled_from([0.0, 1.0]),
    levels=st.integers(0, 3),
    favor_moving=st.sampled_from([0.0, 5.0]),
)


@settings(max_examples=40)
@given(SIZES, CHOICES, st.integers(0, 2**16))
def test_the_mode_lies_between_the_sources(
    size: tuple[int, int], parameters: SaliencyParameters, seed: int
) -> None:
    moving, fixed = pair(*size, seed=seed)
    mode = likelihood_mode(moving, fixed, parameters)
    assert (mode <= torch.maximum(moving, fixed)).all()
    assert (mode >= torch.minimum(moving, fixed)).all()
    assert torch.equal(likelihood_mode(moving, moving, parameters), moving)


def test_the_voxel_choice_equals_an_independent_computation() -> None:
    moving, fixed = pair(30, 37)
    parameters = SaliencyParameters(
        brightness=7.0, brightness_blur=1.3, structure=0.8, structure_blur=0.9
    )
    bright, energy = [], []
    for source in (moving, fixed):
        unit = (source[0, 0].numpy() + 1) / 2
        bright.append(ndimage.gaussian_filter(unit, 1.3, mode="nearest", radius=4))
        square = np.zeros_like(unit)
        for axis in (0, 1):
            step = np.diff(unit, axis=axis) ** 2 / 2
            before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
            before[axis], after[axis] = (1, 0), (0, 1)
            square += np.pad(step, before) + np.pad(step, after)
        energy.append(ndimage.gaussian_filter(square, 0.9, mode="nearest", radius=3) + 2e-4)
    odds = 7 * (bright[0] - bright[1]) / (bright[0] + bright[1] + 0.03)
    odds += 0.8 * np.log(energy[0] / energy[1])
    expected = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(voxel_choice(moving, fixed, parameters)[0, 0], expected, atol=1e-10)


def test_structure_is_taken_from_the_source_that_has_it() -> None:
    flat = torch.full((1, 1, 64, 64), -0.2, dtype=torch.float64)
    texture, _ = pair(64, 64)
    textured = flat + 0.1 * texture
    parameters = SaliencyParameters(levels=3, sharpness=8.0)
    for moving, fixed in ((textured, flat), (flat, textured)):
        details, _ = a_trous_pyramid(scale_choice(moving, fixed, parameters), levels=1)
        wanted, _ = a_trous_pyramid(textured, levels=1)
        share = float((details[0] * wanted[0]).sum() / wanted[0].square().sum())
        # The box between the sources cuts some of it: the average has 0.5.
        assert share > 0.75


def test_the_brighter_source_wins_and_dark_ones_are_compared_relatively() -> None:
    dark, bright = (torch.full((1, 1, 16, 16), value) for value in (-0.8, 0.6))
    for moving, fixed in ((bright, dark), (dark, bright)):
        mode = likelihood_mode(moving, fixed, SaliencyParameters())
        torch.testing.assert_close(mode, bright, atol=1e-3, rtol=0)
    step = 0.04
    low = voxel_choice(
        torch.full_like(dark, -0.9 + step), torch.full_like(dark, -0.9), SaliencyParameters()
    )
    high = voxel_choice(
        torch.full_like(dark, 0.9), torch.full_like(dark, 0.9 - step), SaliencyParameters()
    )
    assert low.mean() > high.mean() > 0.5


def test_a_bright_lesion_and_bone_keep_their_contrast() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    spot = torch.exp(-((x - 40) ** 2 + (y - 30) ** 2) / 18)
    moving = (-0.6 + 1.4 * spot)[None, None].double()
    texture, _ = pair(64, 64)
    fixed = -0.3 + 0.1 * texture
    for modality in ("PET", "SPECT"):
        parameters = SaliencyParameters.of_modality(modality)
        assert parameters is not None
        mode = likelihood_mode(moving, fixed, parameters)
        assert float(mode[..., 30, 40]) > 0.95 * float(moving.max()), modality
    favored = likelihood_mode(moving, fixed, SaliencyParameters(favor_moving=30.0))
    assert float((favored - moving).abs().mean()) < float(
        (likelihood_mode(moving, fixed, SaliencyParameters()) - moving).abs().mean()
    )


def test_the_rectifier_mixes_within_the_box_and_tells_the_share() -> None:
    moving, fixed = pair(24, 20, batch=3)
    sources = torch.cat([fixed, moving], dim=1)
    x0, _ = pair(24, 20, seed=5, batch=3)
    rectifier = SaliencyRectifier(prior_share=0.4)
    state = rectifier.initial_state(sources)
    result = rectifier.step(x0, sources, state)
    lower, upper = torch.minimum(moving, fixed), torch.maximum(moving, fixed)
    mode = likelihood_mode(moving, fixed, SaliencyParameters())
    mixed = 0.6 * mode + 0.4 * x0
    torch.testing.assert_close(result.luminance, mixed.clamp(lower, upper))
    torch.testing.assert_close(result.x0, mixed)
    torch.testing.assert_close(
        fixed + result.weight * (moving - fixed), result.luminance, atol=2e-4, rtol=0
    )
    assert torch.equal(rectifier.mode(state), state.mode)


def test_fidelity_goes_from_the_sources_to_the_prior() -> None:
    moving, fixed = pair(24, 20)
    sources = torch.cat([fixed, moving], dim=1)
    x0, _ = pair(24, 20, seed=5)
    outcomes = []
    for fidelity in (1.0, 0.25, 0.0):
        rectifier = SaliencyRectifier(prior_share=0.4, fidelity=fidelity)
        state = rectifier.initial_state(sources)
        outcomes.append(rectifier.step(x0, sources, state).luminance)
    torch.testing.assert_close(outcomes[2], x0)
    torch.testing.assert_close(outcomes[1], 0.25 * outcomes[0] + 0.75 * x0)


def test_the_share_of_the_prior_grows_with_the_noise() -> None:
    rectifier = SaliencyRectifier()
    levels = (0.0, 0.02, 0.06, 0.12, 0.5)
    shares = [rectifier.for_noise(NoiseModel.white(level)).prior_share for level in levels]
    assert shares[0] == shares[1] == rectifier.least_share > 0
    assert shares == sorted(shares)
    power = 0.12**2 - rectifier.texture_level**2
    assert shares[3] == pytest.approx(power / (power + rectifier.prior_error**2))
    fixed_share = SaliencyRectifier(prior_share=0.2)
    assert fixed_share.for_noise(NoiseModel.white(0.5)).prior_share == 0.2


def test_the_prior_is_asked_on_the_scale_of_the_noise() -> None:
    moving, fixed = pair(24, 20)
    sources = torch.cat([fixed, moving], dim=1)
    noise = NoiseModel(0.0, 0.01)
    rectifier = SaliencyRectifier(prior_share=0.4).for_noise(noise)
    state = rectifier.initial_state(sources)
    torch.testing.assert_close(rectifier.mode(state), ((state.mode + 1) / 2).sqrt() * 2 - 1)
    x0, _ = pair(24, 20, seed=5)
    signal = noise.unclip(((x0 + 1) / 2).square() * 2 - 1)
    mixed = 0.6 * state.mode + 0.4 * signal
    result = rectifier.step(x0, sources, state)
    torch.testing.assert_close(result.luminance, mixed.clamp(state.lower, state.upper))
    torch.testing.assert_close(result.x0, noise.stabilize(mixed))


def test_the_prior_acts_and_batches_equal_their_members() -> None:
    moving, fixed = (image.float() for image in pair(24, 20, batch=3))
    sources = torch.cat([fixed, moving], dim=1)
    rectifier = SaliencyRectifier().for_noise(NoiseModel.white(0.12))
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
    shown = torch.einsum("bchw,c->bhw", result.x0, weights)
    lower, upper = torch.minimum(moving, fixed)[:, 0], torch.maximum(moving, fixed)[:, 0]
    torch.testing.assert_close(shown.clamp(lower, upper), result.luminance[:, 0])


@pytest.mark.parametrize(
    "options",
    [{"prior_share": 1.1}, {"prior_share": -0.1}, {"fidelity": 2.0}, {"prior_error": 0.0}]
    + [{"noise_margin": value} for value in (-1.0, math.inf, math.nan)],
)
def test_parameters_of_the_rectifier_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        SaliencyRectifier(**options)


@pytest.mark.parametrize(
    "options",
    [{"levels": -1}, {"window": -1}, {"scale_share": 1.5}, {"structure_floor": 0.0}],
)
def test_parameters_of_the_choice_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        SaliencyParameters(**options)


@settings(max_examples=25)
@given(st.floats(0.01, 0.2), st.integers(0, 2**16))
def test_white_noise_is_measured(level: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise = level * torch.randn(3, 1, 96, 96, generator=generator)
    assert smooth_windows(noise).level == pytest.approx(level, rel=0.05)


def test_smooth_images_and_background_have_no_noise() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    smooth = (0.4 * torch.cos(3 * x) * torch.cos(2 * y))[None, None]
    assert smooth_windows(smooth).level < 2e-3
    noise = 0.1 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    ring = torch.where(x**2 + y**2 < 0.5, smooth + noise, -1.0)
    assert smooth_windows(ring).level == pytest.approx(0.1, rel=0.1)
    assert smooth_windows(torch.full((1, 1, 64, 64), -1.0)).level == 0
    assert smooth_windows(torch.zeros(1, 1, 5, 40)).level == 0
    with pytest.raises(InputError, match="N, 1, H, W"):
        smooth_windows(torch.zeros(4, 4))
