"""The likelihood of several moving sources: against its formulas in numpy, and what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, configure
from monai_ddfm.likelihoods.balance import Balance, balanced_mode
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import BalanceRectifier
from monai_ddfm.likelihoods.scale_space import gaussian

Array = NDArray[np.float64]
CLEAN = NoiseModel(0.0)


def images(count: int, *, seed: int = 0, height: int = 40, width: int = 33) -> Tensor:
    """Smooth images with texture, [count, 1, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse, fine = torch.randn(2, count, 1, height, width, generator=generator).double()
    coarse, fine = gaussian(coarse, sigma=4.0), gaussian(fine, sigma=0.6)
    return (0.5 + 0.5 * coarse / coarse.abs().max() + 0.1 * fine).clamp(0, 1)


def mode(every: Tensor, own: list[Balance]) -> Tensor:
    """Fuse images in [0, 1], the first of them fixed."""
    return (balanced_mode(every[1:] * 2 - 1, every[:1] * 2 - 1, own) + 1) / 2


def smoothed(image: Array, sigma: float) -> Array:
    """Normalized convolution, by scipy's convolution with zeros beyond the border."""
    offsets = np.arange(-int(max(4 * sigma, 1)), int(max(4 * sigma, 1)) + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    for axis in (0, 1):
        parts = [
            ndimage.convolve1d(values, taps, axis=axis, mode="constant")
            for values in (image, np.ones_like(image))
        ]
        image = parts[0] / parts[1]
    return image


def mode_by_formula(v: Array, moving: list[Array], own: list[Balance]) -> Array:
    """The docstring of `monai_ddfm.likelihoods.balance`, line by line, for N moving sources."""
    b = own[0]

    def deviation(detail: Array, floor: float = b.deviation_floor) -> Array:
        return np.sqrt(smoothed(detail**2, b.window) + floor**2)

    every = [v, *moving]
    smooth = [smoothed(one, b.texture_scale) for one in every]
    fine = [one - s for one, s in zip(every, smooth, strict=True)]
    powers = [smoothed(d**2, 3.0) for d in fine]
    energies = [power + 1e-6 for power in powers]
    fine = [d * p / (p + b.texture_grain**2) for d, p in zip(fine, powers, strict=True)]
    texture = sum(e * d for e, d in zip(energies, fine, strict=True)) / sum(energies)
    texture = b.texture_share * texture
    rest, shown = list(smooth), np.zeros_like(v)
    for scale, gain in zip(b.scales, b.gains, strict=True):
        coarser = [smoothed(one, scale) for one in rest]
        details = [one - c for one, c in zip(rest, coarser, strict=True)]
        rest, grain = coarser, b.grain * b.scales[0] / scale
        powers = [smoothed(d**2, scale) for d in details]
        details = [d * p / (p + grain**2) for d, p in zip(details, powers, strict=True)]
        leads = [one.resolution <= scale <= b.crossover for one in own]
        unresolved = [one.resolution > min(scale, b.crossover) for one in own]
        shares = [here and scale <= max(b.crossover, b.sharing) for here in unresolved]
        bounds = 1 / b.largest_ratio, b.largest_ratio
        absent = [grain**2 / (deviation(d) ** 2 + grain**2) for d in details]
        of_fixed = np.prod([a for a, lead in zip(absent[1:], leads, strict=True) if lead], axis=0)
        weights, parts = np.ones_like(v), details[0] * of_fixed
        beside = b.fine_rest + (1 - b.fine_rest) * absent[0]
        for d, lead, share in zip(details[1:], leads, shares, strict=True):
            if lead or share:
                ratio = np.clip(deviation(details[0]) / deviation(d), *bounds)
                precision = np.exp(b.lean) * ratio**2
                weights = weights + precision
                parts = parts + precision * d * (1.0 if lead else beside)
        mixed = parts / weights
        ceiling = b.ceiling * (scale / b.scales[0]) ** 0.5
        shown = shown + gain / (1 + deviation(mixed, 0.0) / ceiling) * mixed
    shown = shown + (1 - b.rest_share) * rest[0] + b.rest_share * sum(rest[1:]) / len(moving)
    lower, upper = np.min(smooth, axis=0), np.max(smooth, axis=0)
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    shown = middle + half * np.tanh(b.steepness * (shown - middle) / half)
    structure, coarse = np.zeros_like(v), smooth[0]
    for scale in (2.0, 4.0, 8.0):
        detail, coarse = coarse - smoothed(coarse, scale), smoothed(coarse, scale)
        structure = structure + 5 * detail / (1 + deviation(detail) / 0.04)
    best = np.zeros_like(v)
    finding = np.zeros_like(v)
    for one, s in zip(own, smooth[1:], strict=True):
        level = smoothed(s, 0.7)
        rise = np.clip((level - one.finding + one.finding_width) / (2 * one.finding_width), 0, 1)
        share = one.finding_share * (3 * rise**2 - 2 * rise**3) * (s > smooth[0])
        limit = one.finding_structure
        own_look = one.finding_brightness * s + limit * np.tanh(structure / limit)
        finding = np.where(share > best, own_look, finding)
        best = np.maximum(share, best)
    found = (1 - best) * shown + best * finding + texture
    return np.clip(found, np.min(every, axis=0), np.max(every, axis=0))


@pytest.mark.parametrize(
    "own",
    [
        [Balance()],
        [Balance(resolution=6.0), Balance()],
        [Balance(resolution=6.0, finding=0.6), Balance(resolution=10.0), Balance(finding=0.7)],
        [Balance(resolution=6.0), Balance(resolution=10.0)],
    ],
    ids=["one", "PET and CT", "three", "none resolves"],
)
def test_it_is_what_the_formulas_say(own: list[Balance]) -> None:
    every = images(1 + len(own))
    found = mode(every, own)[0, 0].numpy()
    v, *moving = (one[0].numpy() for one in every)
    np.testing.assert_allclose(found, mode_by_formula(v, moving, own), atol=1e-9)


def test_a_source_that_shows_nothing_of_its_own_changes_little() -> None:
    """A second source that is the MRI over again leaves what the first shows."""
    fixed, moving = images(2)
    own = [Balance(), Balance()]
    alone = mode(torch.stack([fixed, moving]), own[:1])
    beside = mode(torch.stack([fixed, moving, fixed]), own)
    assert float((alone - beside).abs().mean()) < 0.05


def test_the_order_of_the_moving_sources_does_not_matter() -> None:
    every = images(4)
    own = [Balance(resolution=6.0), Balance(finding=0.6), Balance(resolution=10.0)]
    turned = [2, 0, 1]
    again = mode(torch.cat([every[:1], every[1:][turned]]), [own[n] for n in turned])
    torch.testing.assert_close(mode(every, own), again, rtol=0, atol=1e-12)


def test_parameters_must_fit_the_sources() -> None:
    with pytest.raises(ValueError, match="2 parameters do not fit 1 moving sources"):
        balanced_mode(images(1), images(1), [Balance(), Balance()])


# --- the rectifier


def test_the_result_lies_between_the_smallest_and_the_largest_source() -> None:
    sources = (images(3)[:, 0] * 2 - 1).float()[None]
    rectifier = BalanceRectifier()
    done = rectifier.fuse(sources, sources.split(1, dim=1), noises=[CLEAN] * 3)
    assert bool((done.luminance >= sources.amin(1, keepdim=True)).all())
    assert bool((done.luminance <= sources.amax(1, keepdim=True)).all())
    assert done.weight.shape == (1, 2, 40, 33)
    shares = torch.cat([1 - done.weight.sum(1, keepdim=True), done.weight], dim=1)
    assert float(shares.min()) > -1e-6
    again = (shares * sources).sum(1, keepdim=True)
    torch.testing.assert_close(again, done.luminance, rtol=0, atol=2e-4)


def test_one_moving_source_is_fused_as_if_there_were_no_others() -> None:
    """To the bit: the same arithmetic, and the share by its own formula."""
    sources = (images(2)[:, 0] * 2 - 1).float()[None]
    one = configure("default", modality="PET").rectifier
    listed = configure("default", modality=["PET"], finding=[None]).rectifier
    assert one == listed
    assert isinstance(one, BalanceRectifier)
    estimates = sources.split(1, dim=1)
    first = one.fuse(sources, estimates, noises=[CLEAN] * 2)
    second = listed.fuse(sources, estimates, noises=[CLEAN] * 2)  # type: ignore[union-attr]
    assert torch.equal(first.luminance, second.luminance)
    assert torch.equal(first.weight, second.weight)


def test_each_source_has_what_is_known_of_its_modality() -> None:
    preset = configure("default", modality=["PET", "CT"], finding=[None, 0.6])
    rectifier = preset.rectifier
    assert isinstance(rectifier, BalanceRectifier)
    pet, ct = rectifier.balances(2)
    assert (pet.resolution, pet.finding) == (6.0, Balance().finding)
    assert (ct.resolution, ct.finding, ct.finding_brightness) == (1.0, 0.6, 1.0)
    assert [rectifier.takes(n) for n in (1, 2, 3)] == [False, True, False]
    assert [BalanceRectifier().takes(n) for n in (1, 2, 3)] == [True, True, True]


# --- the inferer


class NoPrior(torch.nn.Module):
    """Stands where the prior is not run: it must not be called."""

    prediction_type = "v_prediction"


def test_the_inferer_fuses_a_volume_of_several_sources() -> None:
    volume = gaussian(images(3, height=48, width=48), sigma=2.0)[:, 0, :, :, None]
    sources = (volume.expand(-1, -1, -1, 2) * 2 - 1).float()[None]
    result = DDFMInferer(preset=configure("default", modality=["PET", "CT"]))(sources, NoPrior())
    assert result.shape == (1, 3, 48, 48, 2)
    assert bool((result[:, 1:].sum(1) <= 1 + 1e-6).all())
    assert bool((result[:, :1] <= sources.amax(1, keepdim=True)).all())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"preset": "reference"}, "the preset 'reference' is not for 2 moving sources"),
        (
            {"preset": configure("default", modality=["CT", "PET", "SPECT"])},
            "the preset 'default' is not for 2 moving sources",
        ),
        ({"smooth_across": 1.0}, "smoothing across slices is for one moving source"),
    ],
)
def test_what_fuses_one_moving_source_says_so(options: dict[str, Any], sentence: str) -> None:
    assert "reference" in PRESETS
    with pytest.raises(InputError, match=sentence):
        DDFMInferer(**options)(torch.zeros(1, 3, 16, 16, 2), NoPrior())
