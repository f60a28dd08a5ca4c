"""Presets: what each promises, and how it becomes a solver for a prior."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
import torch

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, Preset, configure, preset_named
from monai_ddfm.inferers.presets import SolverName, build_solver
from monai_ddfm.likelihoods.balance import Balance
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.likelihoods.rectifiers import (
    BalanceRectifier,
    EMRectifier,
    IdentityRectifier,
    SaliencyRectifier,
)
from monai_ddfm.likelihoods.saliency import SaliencyParameters
from monai_ddfm.networks.schedulers import DDIMSolver, DDPMSolver, Solver


def built(preset: Preset, **options: Any) -> Solver:
    settings: dict[str, Any] = {
        "num_timesteps": 1000,
        "betas": "linear",
        "prediction_type": "epsilon",
        "learns_variance": False,
    }
    return build_solver(preset, **(settings | options))


def test_the_promised_presets_are_there() -> None:
    assert set(PRESETS) >= {"reference", "paper", "default", "contrast"}
    for name, preset in PRESETS.items():
        assert preset_named(name) is preset


def test_reference_is_the_published_loop() -> None:
    preset = preset_named("reference")
    solver = built(preset)
    assert isinstance(solver, DDIMSolver)
    assert solver.eta == 0
    assert len(solver.schedule) == 100
    expected = EMRectifier(variant="reference", lamb=0.5, rho=0.001, tv=True, luminance="limited")
    assert preset.rectifier == expected


def test_paper_is_ancestral_and_prints_its_sum() -> None:
    preset = preset_named("paper")
    assert isinstance(preset.rectifier, EMRectifier)
    assert preset.rectifier.variant == "paper"
    solver = built(preset)
    assert isinstance(solver, DDPMSolver)
    assert solver.needs_noise(0)
    assert solver.variance == "fixed_small"
    learned = built(preset, learns_variance=True)
    assert isinstance(learned, DDPMSolver)
    assert learned.variance == "learned_range"


def test_default_is_deterministic_and_stays_between_the_sources() -> None:
    preset = preset_named("default")
    solver = built(preset)
    assert not any(solver.needs_noise(index) for index in range(len(solver.schedule)))
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(1, 2, 24, 24, generator=generator) * 2 - 1
    estimates = torch.randn(2, 1, 1, 24, 24, generator=generator) * 3
    assert preset.rectifier == BalanceRectifier()
    noises = [NoiseModel(0.0)] * 2
    fused = preset.rectifier.fuse(sources, list(estimates), noises=noises).luminance
    assert bool((fused <= sources.amax(1, keepdim=True)).all())
    assert bool((fused >= sources.amin(1, keepdim=True)).all())


def test_contrast_is_deterministic_and_stays_between_the_sources() -> None:
    preset = preset_named("contrast")
    solver = built(preset)
    assert not any(solver.needs_noise(index) for index in range(len(solver.schedule)))
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(1, 2, 24, 24, generator=generator) * 2 - 1
    x0 = torch.randn(1, 1, 24, 24, generator=generator) * 3
    rectifier = preset.rectifier
    assert isinstance(rectifier, SaliencyRectifier)
    fused = rectifier.step(x0, sources, rectifier.initial_state(sources)).luminance
    assert bool((fused <= sources.amax(1, keepdim=True) + 1e-5).all())
    assert bool((fused >= sources.amin(1, keepdim=True) - 1e-5).all())


@pytest.mark.parametrize("name", get_args(SolverName))
def test_every_solver_takes_every_prediction(name: SolverName) -> None:
    preset = Preset(steps=7, solver=name, rectifier=IdentityRectifier())
    for prediction in ("epsilon", "v_prediction", "sample"):
        solver = built(preset, prediction_type=prediction, betas="cosine", num_timesteps=200)
        assert solver.prediction_type == prediction
        assert len(solver.schedule) == 7
        assert max(solver.schedule.timesteps) < 200


def test_eta_reaches_the_solver() -> None:
    noisy = built(Preset(steps=5, solver="ddim", rectifier=IdentityRectifier(), eta=1.0))
    assert noisy.needs_noise(0)
    assert not noisy.needs_noise(4)


@pytest.mark.parametrize("steps", ["-3", -3, 0, "0", 2000, "abc", "", "10,-5", "ddim", "ddim333"])
def test_steps_that_cannot_be_placed_are_refused(steps: int | str) -> None:
    with pytest.raises(InputError, match=r"steps|visit"):
        built(Preset(steps=steps, solver="ddim", rectifier=IdentityRectifier()))


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'nonsense'.*reference.*paper.*default"):
        preset_named("nonsense")
    wrong = Preset(steps=5, solver="euler", rectifier=IdentityRectifier())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'euler'.*ddim"):
        built(wrong)


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["default"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["default"].steps = 3  # type: ignore[misc]


def test_presets_are_configured() -> None:
    of_ct = SaliencyParameters.of_modality("ct")
    assert of_ct is not None
    ct = configure("contrast", modality="ct", fidelity=0.5, noise_margin=2.0, favor_moving=2.0)
    assert ct.rectifier == SaliencyRectifier(
        parameters=dataclasses.replace(of_ct, favor_moving=2.0), fidelity=0.5, noise_margin=2.0
    )
    assert configure("contrast", modality="IR").rectifier == SaliencyRectifier()
    assert configure("reference", modality="PET") is PRESETS["reference"]
    with pytest.raises(InputError, match="fidelity belongs to the presets default and contrast"):
        configure("paper", fidelity=0.5)
    with pytest.raises(InputError, match="noise margin belongs to the presets default and contr"):
        configure("reference", noise_margin=2.0)


def test_the_default_is_one_set_of_parameters_for_all_modalities() -> None:
    """But for what a scanner resolves, and for texture, of which a photograph has more."""
    for modality, resolution in {
        "CT": 1.0,
        "pet": 6.0,
        "SPECT": 10.0,
        None: 1.0,
    }.items():
        rectifier = BalanceRectifier(balance=Balance(resolution=resolution))
        assert configure("default", modality=modality).rectifier == rectifier
    street = configure("default", modality="IR").rectifier
    assert isinstance(street, BalanceRectifier)
    assert street.balance.texture_grain < Balance().texture_grain / 5
    mine = configure("default", fidelity=0.5, noise_margin=1.0, favor_moving=2.0, prior_share=0.3)
    assert mine.rectifier == BalanceRectifier(
        balance=Balance(favor_moving=2.0), fidelity=0.5, noise_margin=1.0, prior_share=0.3
    )
    bone = configure("default", modality="CT", finding=0.55).rectifier
    assert isinstance(bone, BalanceRectifier)
    assert bone.balance.finding == 0.55
    assert bone.balance.finding_width < Balance().finding_width
    assert bone.balance.finding_share > Balance().finding_share
    assert configure("contrast", finding=0.55) == configure("contrast")


@pytest.mark.parametrize("name", ["prior_share", "fidelity", "noise_margin", "favor_moving"])
@pytest.mark.parametrize("value", ["two", "nan", True, [1.0]])
@pytest.mark.parametrize("preset", ["default", "contrast"])
def test_a_wish_that_is_no_number_is_refused(name: str, value: object, preset: str) -> None:
    text = name.replace("_", " ")
    with pytest.raises(InputError, match=f"{text} .* is not a number; give one"):
        configure(preset, **{name: value})  # type: ignore[arg-type]
