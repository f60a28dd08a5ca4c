"""Sources drawn again: nothing to draw gives the sources themselves, the rest what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_ddfm.data.transform_files import attach_transform
from monai_ddfm.likelihoods.scan_noise import ScanNoise
from monai_ddfm.transforms.ensemble import DrawSourcesd, MovingDraws, SourceDraws
from monai_ddfm.transforms.histogram import IntensityMap
from monai_ddfm.transforms.registration_uncertainty import RigidUncertainty
from monai_ddfm.transforms.simpleitk_bridge import resample
from monai_ddfm.utils.reports import add_report, reports_of

QUIET = ScanNoise(constant=0.0, slope=0.0, grain=(0.0,) * 3, low=0.0, span=1.0)
SURE = RigidUncertainty(np.diag([1e-12] * 6), np.zeros(3), 50.0)


def volume(*shape: int, spacing: float) -> MetaTensor:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return MetaTensor(
        1000 * noise, affine=torch.diag(torch.tensor([spacing, spacing, spacing, 1.0]))
    )


@pytest.fixture
def draws() -> SourceDraws:
    moving = MovingDraws(
        volume=volume(1, 10, 9, 8, spacing=3.0),
        transform=sitk.TranslationTransform(3, [0.5, -1.0, 0.3]),
        gray=IntensityMap((100.0, 800.0)),
        noise=QUIET,
        uncertainty=None,
        interpolation="linear",
        outside=0.0,
    )
    grid = volume(1, 14, 13, 12, spacing=2.0)
    return SourceDraws(moving=(moving,), grid=grid, noise=QUIET, seed=7)


def changed(draws: SourceDraws, **changes: Any) -> SourceDraws:
    """Return draws whose moving volumes differ in something."""
    return replace(draws, moving=tuple(replace(one, **changes) for one in draws.moving))


@pytest.fixture
def sources(draws: SourceDraws) -> MetaTensor:
    (one,) = draws.moving
    placed = resample(one.volume, draws.grid, one.transform, outside=0.0)
    fixed = one.gray.forward(draws.grid.as_tensor())
    both = torch.cat([fixed, one.gray.forward(placed.as_tensor())])[None]
    return MetaTensor(both, affine=draws.grid.affine[None])


def test_without_noise_the_sources_are_those_of_the_run(
    draws: SourceDraws, sources: MetaTensor
) -> None:
    again = draws(1, sources)
    assert torch.equal(again.as_tensor(), sources.as_tensor())
    assert isinstance(again, MetaTensor)
    assert torch.equal(again.affine, sources.affine)
    sure = changed(draws, uncertainty=SURE)(1, sources)
    np.testing.assert_allclose(sure.as_tensor(), sources.as_tensor(), atol=1e-4)


def test_draws_differ_by_their_number_and_the_seed_alone(
    draws: SourceDraws, sources: MetaTensor
) -> None:
    noise = replace(QUIET, constant=0.01, span=1000.0)
    loud = replace(changed(draws, noise=noise), noise=replace(noise, low=-1.0, span=2.0))
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
    about = RigidUncertainty(apart, np.zeros(3), 50.0)
    shift = about.drawn(np.random.default_rng([7, 1, 0]))[:3, 3]
    assert abs(shift[0]) > 0.1
    (one,) = draws.moving
    moved = sitk.TranslationTransform(3, (np.array([0.5, -1.0, 0.3]) + shift).tolist())
    expected = one.gray.forward(resample(one.volume, draws.grid, moved, outside=0.0).as_tensor())
    drawn = changed(draws, uncertainty=about)(1, sources).as_tensor()
    np.testing.assert_allclose(drawn[0, 1:], expected, atol=1e-3)
    assert torch.equal(drawn[0, 0], sources.as_tensor()[0, 0])


def test_several_volumes_are_drawn_each_by_itself(draws: SourceDraws, sources: MetaTensor) -> None:
    noise = replace(QUIET, constant=0.01, span=1000.0)
    apart = RigidUncertainty(np.diag([1e-12] * 3 + [4.0] * 3), np.zeros(3), 50.0)
    (quiet,) = draws.moving
    alone = changed(draws, noise=noise, uncertainty=apart)
    (loud,) = alone.moving
    twice = MetaTensor(sources.as_tensor()[:, [0, 1, 1]], affine=sources.affine)

    def drawn(*moving: MovingDraws, number: int = 1) -> torch.Tensor:
        return replace(draws, moving=moving)(number, twice).as_tensor()[0]

    # The first one as if there were no other; the other as the run has it, being sure of it.
    found = drawn(loud, quiet)
    assert torch.equal(found[:2], alone(1, sources).as_tensor()[0])
    assert torch.equal(found[2], twice.as_tensor()[0, 2])
    # One volume given twice lies in two places, with two noises, the same ones for a seed.
    noises, motions = (
        drawn(one, one) for one in (replace(quiet, noise=noise), replace(quiet, uncertainty=apart))
    )
    for both in (noises, motions):
        assert float((both[1] - both[2]).abs().mean()) > 0.01
    assert torch.equal(drawn(loud, loud), drawn(loud, loud))
    assert not torch.equal(drawn(loud, loud)[2], drawn(loud, loud, number=2)[2])
    # Whether the first is sure does not change how the second is drawn.
    assert torch.equal(drawn(quiet, loud)[2], drawn(loud, loud)[2])


def test_each_volume_is_drawn_by_what_its_own_registration_says() -> None:
    case: dict[str, Any] = {"image": volume(3, 14, 13, 12, spacing=2.0) / 500 - 1}
    unsure = RigidUncertainty(np.diag([0.25] * 6), np.zeros(3), 50.0)
    known = {"pet": SURE, "ct": unsure, "mr": None}
    for name, uncertainty in known.items():
        case[f"moving_{name}_source"] = volume(1, 10, 9, 8, spacing=3.0)
        case[f"moving_{name}"] = placed = volume(1, 14, 13, 12, spacing=2.0)
        case[f"moving_{name}_scaled"] = scaled = volume(1, 14, 13, 12, spacing=2.0)
        add_report(scaled, "intensity", {"knots": [0.0, 1000.0], "values": [-1.0, 1.0]})
        attach_transform(placed, sitk.Euler3DTransform())
        report = {"method": "none", "interpolation": "linear", "outside": 0.0}
        told = {"uncertainty": uncertainty.described()} if uncertainty else {}
        add_report(placed, "registration", report | told)
    keys = [f"moving_{name}" for name in known]
    done = DrawSourcesd(
        moving_key=keys,
        scaled_key=[f"{key}_scaled" for key in keys],
        source_key=[f"{key}_source" for key in keys],
    )(case)
    said = [reports_of(done[key])["samples"] for key in keys]
    assert [one["registration"] for one in said] == [
        "drawn",
        "drawn",
        "not drawn: the volumes are said to be aligned",
    ]
    assert [one["registration_mm"] for one in said] == [0.0, round(unsure.mm, 3), None]
    assert [one.uncertainty is None for one in done["draws"].moving] == [False, False, True]
    for one, key in zip(done["draws"].moving, keys, strict=True):
        assert one.volume is done[f"{key}_source"]
    assert len({str(one["noise"]["fixed"]) for one in said}) == 1
