"""Sources drawn again: nothing to draw gives the sources themselves, the rest what is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_ddfm.likelihoods.scan_noise import ScanNoise
from monai_ddfm.transforms.ensemble import SourceDraws
from monai_ddfm.transforms.histogram import IntensityMap
from monai_ddfm.transforms.registration_uncertainty import RigidUncertainty
from monai_ddfm.transforms.simpleitk_bridge import resample

QUIET = ScanNoise(constant=0.0, slope=0.0, grain=(0.0,) * 3, low=0.0, span=1.0)
SURE = RigidUncertainty(np.diag([1e-12] * 6), np.zeros(3), 50.0)


def volume(*shape: int, spacing: float) -> MetaTensor:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return MetaTensor(
        1000 * noise, affine=torch.diag(torch.tensor([spacing, spacing, spacing, 1.0]))
    )


@pytest.fixture
def draws() -> SourceDraws:
    return SourceDraws(
        moving=volume(1, 10, 9, 8, spacing=3.0),
        grid=volume(1, 14, 13, 12, spacing=2.0),
        transform=sitk.TranslationTransform(3, [0.5, -1.0, 0.3]),
        gray=IntensityMap((100.0, 800.0)),
        noises=(QUIET, QUIET),
        uncertainty=None,
        interpolation="linear",
        outside=0.0,
        seed=7,
    )


@pytest.fixture
def sources(draws: SourceDraws) -> MetaTensor:
    placed = resample(draws.moving, draws.grid, draws.transform, outside=0.0)
    fixed = draws.gray.forward(draws.grid.as_tensor())
    both = torch.cat([fixed, draws.gray.forward(placed.as_tensor())])[None]
    return MetaTensor(both, affine=draws.grid.affine[None])


def test_without_noise_the_sources_are_those_of_the_run(
    draws: SourceDraws, sources: MetaTensor
) -> None:
    again = draws(1, sources)
    assert torch.equal(again.as_tensor(), sources.as_tensor())
    assert isinstance(again, MetaTensor)
    assert torch.equal(again.affine, sources.affine)
    sure = replace(draws, uncertainty=SURE)(1, sources)
    np.testing.assert_allclose(sure.as_tensor(), sources.as_tensor(), atol=1e-4)


def test_draws_differ_by_their_number_and_the_seed_alone(
    draws: SourceDraws, sources: MetaTensor
) -> None:
    noise = replace(QUIET, constant=0.01, span=1000.0)
    loud = replace(draws, noises=(replace(noise, low=-1.0, span=2.0), noise))
    before = sources.clone()
    one, two = loud(1, sources).as_tensor(), loud(2, sources).as_tensor()
    assert torch.equal(one, loud(1, sources).as_tensor())
    assert not torch.equal(one, two)
    assert not torch.equal(one, replace(loud, seed=8)(1, sources).as_tensor())
    assert torch.equal(sources, before)
    inside = (sources[0, 0].abs() < 0.7).as_tensor()
    assert float((one - sources.as_tensor())[0, 0][inside].std()) == pytest.approx(0.2, rel=0.1)
    # What was black or white stays so, and nothing leaves the scale.
    ends = (sources[0, 0].abs() > 0.99).as_tensor()
    assert torch.equal(one[0, 0][ends], sources.as_tensor()[0, 0][ends])
    assert float(one.abs().max()) <= 1


def test_the_registration_is_drawn_about_the_one_found(
    draws: SourceDraws, sources: MetaTensor
) -> None:
    apart = np.diag([1e-12] * 3 + [4.0, 1e-12, 1e-12])
    unsure = replace(draws, uncertainty=RigidUncertainty(apart, np.zeros(3), 50.0))
    shift = unsure.uncertainty.drawn(np.random.default_rng([7, 1, 0]))[:3, 3]
    assert abs(shift[0]) > 0.1
    moved = sitk.TranslationTransform(3, (np.array([0.5, -1.0, 0.3]) + shift).tolist())
    expected = draws.gray.forward(
        resample(draws.moving, draws.grid, moved, outside=0.0).as_tensor()
    )
    drawn = unsure(1, sources).as_tensor()
    np.testing.assert_allclose(drawn[0, 1:], expected, atol=1e-3)
    assert torch.equal(drawn[0, 0], sources.as_tensor()[0, 0])
