"""The likelihood of the default: against its formulas in numpy, and what a reader finds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from em_images import SIDES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from run_cases import RecordingNet
from scipy import ndimage
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, configure
from monai_ddfm.likelihoods.balance import Balance, balanced_mode
from monai_ddfm.likelihoods.rectifiers import BalanceRectifier
from monai_ddfm.likelihoods.scale_space import gaussian

Array = NDArray[np.float64]
SIDE = 64


def fused(
    moving: Tensor,
    fixed: Tensor,
    *,
    spacing: Any = (1.0, 1.0),
    **parameters: Any,
) -> Tensor:
    """Fuse images [H, W] in [0, 1]."""
    pair = ((image * 2 - 1)[None, None] for image in (moving, fixed))
    balance = Balance(**parameters)
    return (balanced_mode(*pair, balance, spacing=spacing)[0, 0] + 1) / 2


def smooth_noise(seed: int, *shape: int, sigma: float = 3.0) -> Tensor:
    """Two images [2, *shape] with values around .5."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    noise = gaussian(noise, sigma=sigma)
    return 0.5 + 0.35 * noise / noise.abs().max()


def distance() -> Tensor:
    """Distance of every pixel from the middle."""
    axis = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    return torch.hypot(*torch.meshgrid(axis, axis, indexing="ij"))


def disc(radius: float) -> Tensor:
    """A disc in the middle, 1 in 0, with an edge of a pixel."""
    return torch.sigmoid((radius - distance()) / 0.7)


def contrast(image: Tensor, radius: float) -> float:
    """How much brighter a disc is than what is around it."""
    inside = distance() < 0.8 * radius
    around = (distance() > radius + 2) & (distance() < radius + 6)
    return float(image[inside].mean() - image[around].mean())


# --- the formulas


def smoothed(image: Array, sigma: float, spacing: tuple[float, float]) -> Array:
    """Normalized convolution, by scipy's convolution with zeros beyond the border."""
    for axis, size in enumerate(spacing):
        width = sigma / size
        offsets = np.arange(-int(max(4 * width, 1)), int(max(4 * width, 1)) + 1)
        taps = np.exp(-0.5 * (offsets / width) ** 2)
        parts = (
            ndimage.convolve1d(values, taps, axis=axis, mode="constant")
            for values in (image, np.ones_like(image))
        )
        image = next(parts) / next(parts)
    return image


def mode_by_formula(
    i: Array,
    v: Array,
    b: Balance,
    spacing: tuple[float, float],
) -> Array:
    """The docstring of `monai_ddfm.likelihoods.balance`, line by line."""

    def blur(image: Array, sigma: float) -> Array:
        return smoothed(image, sigma, spacing)

    def deviation(detail: Array, floor: float = b.deviation_floor) -> Array:
        return np.sqrt(blur(detail**2, b.window) + floor**2)

    def clear(detail: Array, grain: float, window: float) -> Array:
        power = blur(detail**2, window)
        return detail * power / (power + grain**2)

    i_smooth, v_smooth = blur(i, b.texture_scale), blur(v, b.texture_scale)
    fine = v - v_smooth, i - i_smooth
    energies = [blur(d**2, 3.0) + 1e-6 for d in fine]
    t_v, t_i = (clear(d, b.texture_grain, 3.0) for d in fine)
    texture = energies[0] * t_v + energies[1] * t_i
    texture *= b.texture_share / (energies[0] + energies[1])

    shown, c_v, c_i = np.zeros_like(v), v_smooth, i_smooth
    for scale, gain in zip(b.scales, b.gains, strict=True):
        next_v, next_i = blur(c_v, scale), blur(c_i, scale)
        d_v, d_i, c_v, c_i = c_v - next_v, c_i - next_i, next_v, next_i
        grain = b.grain * b.scales[0] / scale
        d_v, d_i = clear(d_v, grain, scale), clear(d_i, grain, scale)
        favor = b.favor_moving * i_smooth
        leads = b.resolution <= scale <= b.crossover
        shares = b.resolution > min(scale, b.crossover) and scale <= max(b.crossover, b.sharing)
        if leads or shares:
            limits = 1 / b.largest_ratio, b.largest_ratio
            ratio = np.clip(deviation(d_v) / deviation(d_i), *limits)
            odds = np.exp(b.lean + favor) * ratio**2
            absent_v, absent_i = (grain**2 / (deviation(d) ** 2 + grain**2) for d in (d_v, d_i))
            of_i = 1.0 if leads else b.fine_rest + (1 - b.fine_rest) * absent_v
            mixed = of_i * odds * d_i + (absent_i if leads else 1.0) * d_v
            mixed = mixed / (odds + 1)
        else:
            mixed = d_v + (1 - np.exp(-np.maximum(favor, 0))) * (d_i - d_v)
        ceiling = b.ceiling * (scale / b.scales[0]) ** 0.5
        shown = shown + gain / (1 + deviation(mixed, 0.0) / ceiling) * mixed
    shown = shown + (1 - b.rest_share) * c_v + b.rest_share * c_i
    # Between the smooth sources, before findings and texture come to it.
    lower, upper = np.minimum(i_smooth, v_smooth), np.maximum(i_smooth, v_smooth)
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    shown = middle + half * np.tanh(b.steepness * (shown - middle) / half)

    # The level is freed of the noise of single pixels, and white beside white is no finding.
    level = blur(i_smooth, 0.7 * min(spacing))
    rise = np.clip((level - b.finding + b.finding_width) / (2 * b.finding_width), 0, 1)
    share = b.finding_share * (3 * rise**2 - 2 * rise**3) * (i_smooth > v_smooth)
    structure, c_v = np.zeros_like(v), v_smooth
    for scale in (2.0, 4.0, 8.0):
        next_v = blur(c_v, scale)
        d_v, c_v = c_v - next_v, next_v
        structure = structure + 5 * d_v / (1 + deviation(d_v) / 0.04)
    limit = b.finding_structure
    finding = b.finding_brightness * i_smooth + limit * np.tanh(structure / limit)
    found = (1 - share) * shown + share * finding + texture
    return np.clip(found, np.minimum(i, v), np.maximum(i, v))


@pytest.mark.parametrize(
    ("parameters", "spacing"),
    [
        ({}, (1.0, 1.0)),
        ({"favor_moving": 1.5, "finding": 0.55, "finding_width": 0.05}, (0.7, 0.7)),
        (
            {
                "scales": (1.5, 3.0, 9.0),
                "gains": (1.0, 4.0, 2.0),
                "crossover": 2.0,
                "largest_ratio": 2.0,
                "steepness": 1.25,
            },
            (1.0, 2.5),
        ),
        ({"resolution": 6.0, "finding_structure": 0.05, "favor_moving": 0.7}, (1.0, 1.0)),
        ({"resolution": 2.0, "sharing": 1.0}, (1.0, 1.0)),
        ({"finding_share": 0.0, "rest_share": 1.0, "fine_rest": 1.0, "window": 4.0}, (3.0, 1.0)),
    ],
)
def test_it_is_what_the_formulas_say(
    parameters: dict[str, Any], spacing: tuple[float, float]
) -> None:
    coarse, fine = smooth_noise(0, 44, 37), smooth_noise(1, 44, 37, sigma=0.6)
    both = (2.2 * (coarse - 0.5) + 0.3 * (fine - 0.5) + 0.5).clamp(0, 1)
    assert float(both.max()) > 0.95
    found = fused(both[1], both[0], spacing=spacing, **parameters)
    balance = Balance(**parameters)
    expected = mode_by_formula(both[1].numpy(), both[0].numpy(), balance, spacing)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)
    assert float((found - both.mean(0)).abs().max()) > 0.05


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 9999),
    height=SIDES,
    width=SIDES,
    spread=st.sampled_from([1.0, 0.1, 1e-6, 0.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    parameters=st.fixed_dictionaries(
        {
            "gains": st.tuples(*[st.floats(-3, 50)] * 4),
            "steepness": st.floats(0.1, 9),
            "ceiling": st.floats(1e-3, 10),
            "texture_share": st.floats(0, 1),
            "texture_grain": st.floats(1e-6, 1),
            "lean": st.floats(-9, 9),
            "fine_rest": st.floats(0, 1),
            "rest_share": st.floats(0, 1),
            "finding": st.floats(0, 1),
            "finding_share": st.floats(0, 1),
            "favor_moving": st.floats(-5, 5),
            "deviation_floor": st.floats(1e-6, 1),
            "grain": st.floats(1e-6, 1),
        }
    ),
    spacing=st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)),
)
def test_nothing_is_beyond_the_sources_whatever_the_parameters(
    seed: int,
    height: int,
    width: int,
    spread: float,
    dtype: torch.dtype,
    parameters: dict[str, float],
    spacing: tuple[float, float],
) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(3, 1, height, width, generator=generator, dtype=dtype) * 2 - 1
    moving, fixed = (spread * noise[:2] + (1 - spread) * noise[2]).split(1)
    found = balanced_mode(moving, fixed, Balance(**parameters), spacing=spacing)
    assert found.dtype == dtype
    assert bool((found >= torch.minimum(moving, fixed)).all())
    assert bool((found <= torch.maximum(moving, fixed)).all())


def test_equal_sources_come_back_unchanged() -> None:
    image = smooth_noise(3, 40, 30)[:1, None].float() * 2 - 1
    assert torch.equal(balanced_mode(image, image, Balance()), image)


# --- what a reader finds


# The lead changes at some 4 mm and, of a source that resolves 6 mm, at some 3 mm; a disc of 1 mm
# cannot be in that one.
@pytest.mark.parametrize(
    ("resolution", "radius", "part"),
    [
        (1.0, 1.0, -0.4),
        (1.0, 3.0, -0.6),
        (1.0, 6.0, 0.7),
        (1.0, 8.0, 0.78),
        (1.0, 12.0, 0.85),
        (6.0, 4.0, 0.5),
        (6.0, 6.0, 0.75),
        (6.0, 8.0, 0.83),
        (6.0, 12.0, 0.8),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_disc_bright_in_one_and_dark_in_the_other_does_not_cancel(
    resolution: float, radius: float, part: float, sign: int
) -> None:
    """The anatomy leads in coarse discs; in fine ones a source that resolves them (part < 0)."""
    moving, fixed = 0.5 + sign * 0.2 * disc(radius), 0.5 - sign * 0.2 * disc(radius)
    assert contrast((moving + fixed) / 2, radius) == pytest.approx(0, abs=1e-9)
    found = contrast(fused(moving, fixed, resolution=resolution), radius)
    led = np.sign(part) * contrast(fixed, radius)
    assert found / led > abs(part)


@pytest.mark.parametrize("resolution", [1.0, 6.0])
@pytest.mark.parametrize("radius", [8.0, 12.0])
@pytest.mark.parametrize(("sign", "part"), [(1, 0.2), (-1, 0.6)])
def test_what_is_white_in_one_and_dark_in_the_other_is_bright(
    resolution: float, radius: float, sign: int, part: float
) -> None:
    moving, fixed = 0.5 + sign * 0.4 * disc(radius), 0.5 - sign * 0.4 * disc(radius)
    found = contrast(fused(moving, fixed, resolution=resolution), radius)
    assert found > part * abs(contrast(fixed, radius))


@pytest.mark.parametrize("radius", [3.0, 4.0, 5.0, 6.0, 8.0, 12.0])
def test_where_the_lead_changes_an_opposed_disc_is_still_to_be_seen(radius: float) -> None:
    moving, fixed = 0.5 + 0.2 * disc(radius), 0.5 - 0.2 * disc(radius)
    found, near = fused(moving, fixed), distance() < radius + 2
    energy = [float((image - 0.5)[near].square().mean().sqrt()) for image in (found, fixed)]
    assert energy[0] > 0.25 * energy[1]


@pytest.mark.parametrize("radius", [8.0, 16.0])
@pytest.mark.parametrize(("white", "part"), [(0.9, 0.76), (0.95, 0.8), (1.0, 0.82)])
@pytest.mark.parametrize("dark", [0.0, 0.25])
def test_white_bone_stays_white_beside_a_dark_mri(
    radius: float, white: float, part: float, dark: float
) -> None:
    moving, fixed = white * disc(radius), dark + 0 * disc(radius)
    core = distance() < 0.7 * radius
    assert float(fused(moving, fixed)[core].mean()) >= part * white


@pytest.mark.parametrize("radius", [4.0, 10.0])
@pytest.mark.parametrize("gray", [0.64, 0.8])
def test_bone_that_units_tell_is_told_from_its_own_gray_level(radius: float, gray: float) -> None:
    moving, fixed = gray * disc(radius), 0.1 + 0 * disc(radius)
    # Nearer to its edge a disc is no bone by its level either.
    core = distance() < 0.5 * radius
    plain, told = (
        float(fused(moving, fixed, **given)[core].mean())
        for given in ({}, {"finding": 0.55, "finding_width": 0.05, "finding_share": 0.97})
    )
    assert told >= 0.78 * gray
    assert plain < told - 0.04


@pytest.mark.parametrize("radius", [2.0, 4.0])
@pytest.mark.parametrize("signal", [0.2, -0.2, 0.05, -0.05])
@pytest.mark.parametrize("tissue", [(0.5, 0.5), (0.3, 0.6)])
@pytest.mark.parametrize("place", ["moving", "fixed"])
def test_a_small_lesion_in_one_source_alone_stays_visible(
    radius: float, signal: float, tissue: tuple[float, float], place: str
) -> None:
    flat = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    lesion = signal * disc(radius)
    moving = tissue[0] + (lesion if place == "moving" else flat)
    fixed = tissue[1] + (lesion if place == "fixed" else flat)
    found = contrast(fused(moving, fixed), radius)
    alone = contrast(moving if place == "moving" else fixed, radius)
    assert found / alone > 0.4


def test_lengths_are_millimetres() -> None:
    coarse = smooth_noise(4, 64, 64)
    fine = torch.nn.functional.interpolate(coarse[None], scale_factor=2, mode="bicubic")[0]

    def halved(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image[None, None], 2)[0, 0]

    expected = fused(*coarse)
    in_mm = (halved(fused(*fine, spacing=(0.5, 0.5))) - expected).abs()
    in_pixels = (halved(fused(*fine)) - expected).abs()
    assert float(in_mm.mean()) < 0.002
    assert float(in_mm.max()) < 0.02
    assert float(in_pixels.mean()) > 10 * float(in_mm.mean())


def test_favor_raises_the_share_of_the_bright_parts_of_moving() -> None:
    moving, fixed = smooth_noise(5, 64, 64)
    away = [
        float((fused(moving, fixed, favor_moving=favor) - moving).abs().mean())
        for favor in (-2.0, 0.0, 1.0, 3.0)
    ]
    assert away == sorted(away, reverse=True)
    assert away[3] < 0.8 * away[1]


@pytest.mark.parametrize(
    "given",
    [
        {"rest_share": -0.1},
        {"rest_share": 1.1},
        {"finding_share": 2.0},
        {"finding_brightness": float("nan")},
        {"texture_scale": 0.0},
        {"window": -8.0},
        {"window": float("inf")},
        {"ceiling": 0.0},
        {"steepness": 0.0},
        {"deviation_floor": 0.0},
        {"grain": 0.0},
        {"finding_width": 0.0},
        {"largest_ratio": -1.0},
        {"gains": (1.0, 1.0, 1.0, float("nan"))},
        {"gains": (1.0, 1.0, 1.0)},
        {"fine_rest": 1.1},
        {"lean": float("inf")},
        {"texture_share": -0.1},
        {"texture_grain": 0.0},
        {"favor_moving": float("nan")},
        {"finding": float("nan")},
        {"scales": ()},
        {"scales": (2.0, 0.0)},
        {"scales": (-1.0, 4.0)},
        {"scales": (2.0, float("inf"))},
    ],
)
def test_parameters_out_of_range_are_refused_in_one_sentence(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(InputError, match=name.replace("_", " ")) as refused:
        Balance(**given)
    assert str(refused.value).endswith(".")
    assert ". " not in str(refused.value)
    with pytest.raises(InputError):
        dataclasses.replace(Balance(), **given)


# --- infrared


def street_at_night() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Visible and infrared [H, W] in [0, 1], and where sky, bar and panel are.

    Dark sky over a textured wall; before it a warm panel with a colder bar that only the infrared
    shows.
    """
    rows, columns = torch.meshgrid(*[torch.arange(SIDE)] * 2, indexing="ij")
    down, across = (rows - 44).abs(), (columns - 32).abs()
    sky = rows < 24
    panel, bar = (down < 14) & (across < 26), (down < 4) & (across < 14)
    wall = 0.45 + 0.15 * torch.sin(columns / 1.5) * torch.cos(rows / 1.7)
    visible = torch.where(sky, 0.04, wall).double()
    infrared = torch.where(sky, 0.06, 0.35).double()
    infrared[panel], infrared[bar] = 0.85, 0.45
    generator = torch.Generator().manual_seed(6)
    noise = 0.004 * torch.randn(2, SIDE, SIDE, generator=generator, dtype=torch.float64)
    near = (down < 8) & (across < 18)
    places = {
        "sky": rows < 18,
        "bar": (down < 2) & (across < 11),
        "panel": (down < 11) & (across < 23) & ~near,
    }
    return visible + noise[0], gaussian(infrared, sigma=0.7) + noise[1], places


def test_a_dark_bar_on_a_warm_panel_stays_and_the_sky_stays_dark() -> None:
    visible, infrared, places = street_at_night()
    pair = torch.stack([visible, infrared])[None].float().clamp(0, 1) * 2 - 1
    network = RecordingNet()
    preset = configure("default", modality="IR")
    found = (DDFMInferer(preset=preset)(pair, network)[0, 0].double() + 1) / 2
    bar = [
        float(image[places["panel"]].mean() - image[places["bar"]].mean())
        for image in (found, infrared)
    ]
    assert bar[0] >= 0.5 * bar[1]
    assert float(infrared[places["sky"]].max()) < 0.1
    assert float(found[places["sky"]].max()) < 0.1
    assert float(gaussian(found, sigma=2.0)[places["sky"]].std()) < 0.01
    assert float(found[places["panel"]].mean()) > 0.75 * 0.85


def test_weak_texture_is_kept_in_a_photograph_and_is_noise_in_a_scan() -> None:
    generator = torch.Generator().manual_seed(8)
    wall = 0.5 + 0.02 * torch.randn(SIDE, SIDE, generator=generator)
    pair = torch.stack([wall, torch.full_like(wall, 0.3)])[None].clamp(0, 1) * 2 - 1
    kept = {}
    for modality in ("IR", "CT"):
        rectifier = configure("default", modality=modality).rectifier
        assert isinstance(rectifier, BalanceRectifier)
        found = balanced_mode(pair[:, 1:], pair[:, :1], rectifier.balance)
        fine = [image - gaussian(image, sigma=1.1) for image in (found, pair[:, :1])]
        kept[modality] = float((fine[0] * fine[1]).mean() / fine[1].square().mean())
    assert kept["IR"] > 0.6
    assert kept["CT"] < 0.4


@pytest.mark.parametrize(
    "given",
    [
        {"gains": "many"},
        {"window": True},
        {"scales": "ab"},
        {"scales": (4.0, 2.0)},
        {"largest_ratio": 0.5},
    ],
)
def test_parameters_of_another_kind_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Balance(**given)
