"""Named ways of running DDFM.

========== ============================== ============ ================================
preset     rectifier                      solver       for
========== ============================== ============ ================================
reference  published EM, with TV          DDIM, eta 0  comparing with published results
paper      printed EM, with TV            DDPM         studying the algorithm
default    saliency within the box        DPM++ (2M)   everyday use: bounded, few steps
========== ============================== ============ ================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from monai_ddfm.errors import InputError
from monai_ddfm.rectifiers import EMRectifier, Rectifier, SaliencyRectifier
from monai_ddfm.schedulers import (
    DDIMSolver,
    DDPMSolver,
    DPMSolverPP2M,
    NoiseSchedule,
    PredictionType,
    Solver,
    Variance,
)

__all__ = [
    "PRESETS",
    "SPEEDS",
    "Preset",
    "SolverName",
    "Speed",
    "at_speed",
    "build_solver",
    "preset_named",
]

SolverName = Literal["ddim", "ddpm", "dpm++"]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How long to sample.

    Attributes:
        steps: timesteps to visit of the whole process, as in `Preset`.
        start_timestep: as in `Preset`; those before it are not visited.
        early_stop: as in `Preset`.
    """

    steps: int | str
    start_timestep: int | None = None
    early_stop: float | None = None


SPEEDS: Mapping[str, Speed] = {
    "fast": Speed(steps=6),
    "balanced": Speed(steps=16),
    "best": Speed(steps=50),
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How to sample.

    Attributes:
        steps: timesteps to visit, as `monai_ddfm.schedulers.space_timesteps` takes them.
        solver: "ddim", "ddpm" (ancestral) or "dpm++" (second-order multistep).
        rectifier: corrects the clean image at every step.
        eta: DDIM's noise, 0 is deterministic.
        start_timestep: start there from the noised average of the sources; None starts from noise.
        early_stop: a slice is finished when it changes by no more than this in a step.
        speeds: names of other steps, with the timestep to start from.
    """

    steps: int | str
    solver: SolverName
    rectifier: Rectifier[Any]
    eta: float = 0.0
    start_timestep: int | None = None
    early_stop: float | None = None
    speeds: Mapping[str, Speed] = field(default_factory=dict, repr=False, compare=False)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "reference": Preset(steps=100, solver="ddim", rectifier=EMRectifier(luminance="limited")),
        "paper": Preset(steps=100, solver="ddpm", rectifier=EMRectifier(variant="paper")),
        "default": Preset(steps=16, solver="dpm++", rectifier=SaliencyRectifier(), speeds=SPEEDS),
    }
)


def preset_named(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        InputError: if there is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise InputError(f"preset {name!r} is unknown; use {', '.join(PRESETS)}.") from None


def at_speed(preset: Preset, name: str) -> Preset:
    """Return a preset with the steps of a speed.

    Raises:
        InputError: if the preset has no such speed.
    """
    if name not in preset.speeds:
        known = f"use {', '.join(preset.speeds)}" if preset.speeds else "give it steps instead"
        raise InputError(f"speed {name!r} is unknown to this preset; {known}.")
    speed = preset.speeds[name]
    return replace(
        preset,
        steps=speed.steps,
        start_timestep=speed.start_timestep,
        early_stop=speed.early_stop,
    )


def build_solver(
    preset: Preset,
    *,
    num_timesteps: int,
    betas: Literal["linear", "cosine"],
    prediction_type: PredictionType,
    learns_variance: bool,
) -> Solver:
    """Build the preset's solver for a prior.

    Args:
        preset: names the solver and its steps.
        num_timesteps: length of the prior's training process.
        betas: noise schedule of the prior's training.
        prediction_type: what the prior predicts.
        learns_variance: whether its output carries a variance; only "ddpm" uses it.

    Raises:
        InputError: if the steps cannot be placed.
    """
    schedule = NoiseSchedule.spaced(preset.steps, num_timesteps=num_timesteps, betas=betas)
    if preset.solver == "ddim":
        return DDIMSolver(schedule, prediction_type, eta=preset.eta)
    if preset.solver == "ddpm":
        variance: Variance = "learned_range" if learns_variance else "fixed_small"
        return DDPMSolver(schedule, prediction_type, variance=variance)
    if preset.solver == "dpm++":
        return DPMSolverPP2M(schedule, prediction_type)
    raise InputError(f"solver {preset.solver!r} is unknown; use ddim, ddpm or dpm++.")
