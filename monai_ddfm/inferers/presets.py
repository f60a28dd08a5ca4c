r"""Named ways of running DDFM.

========== ============================== ============ ================================
preset     rectifier                      solver       for
========== ============================== ============ ================================
reference  published EM, with TV          DDIM, eta 0  comparing with published results
paper      printed EM, with TV            DDPM         studying the algorithm
default    EM with fields of scales       DDIM, eta 0  everyday use: bounded, few steps
contrast   choice by brightness           DDIM, eta 0  the default until version 0.1
gain       information gain of the steps  DPM++ (2M)   comparing with Dig2DIG
========== ============================== ============ ================================

`reference` and `paper` sample from pure noise. `default` and `contrast` start from the sources.
`default` samples the clean image behind each source; `contrast` samples the fused image, from the
mode m of its likelihood. Either is the clean image plus noise of standard deviation s, and that is
what the diffusion process holds at the timestep where its noise is s. Above that timestep the prior
sees less than the sources show, so nothing is lost by leaving those steps out (the idea of Chung et
al. 2022, arXiv 2112.05146, who start from a diffused estimate). Where the image is black or white,
its noise is missing or cut off, and is drawn anew (`monai_ddfm.inferers.sampling.with_noise_of`).
With an excess e > 1 sampling starts at :math:`e s` with noise of :math:`\sqrt{e^2 - 1}\, s` added,
so that seeds differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.balance import Balance
from monai_ddfm.likelihoods.rectifiers import (
    BalanceRectifier,
    EMRectifier,
    InformationGainRectifier,
    Likelihood,
    Rectifier,
    SaliencyRectifier,
)
from monai_ddfm.likelihoods.scale_space import Spacing
from monai_ddfm.networks.schedulers import (
    DDIMSolver,
    DDPMSolver,
    DPMSolverPP2M,
    NoiseSchedule,
    PredictionType,
    Solver,
    Variance,
)
from monai_ddfm.utils.former_names import renamed

__all__ = [
    "PRESETS",
    "SPEEDS",
    "Preset",
    "SolverName",
    "Speed",
    "Start",
    "at_speed",
    "build_solver",
    "configure",
    "preset_named",
    "without_units",
]

SolverName = Literal["ddim", "ddpm", "dpm++"]
Start = Literal["noise", "sources"]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How long to sample.

    Attributes:
        steps: as in `Preset`.
        start_timestep: as in `Preset`; those before it are not visited.
        early_stop: as in `Preset`.
    """

    steps: int | str
    start_timestep: int | None = None
    early_stop: float | None = None


SPEEDS: Mapping[str, Speed] = {
    "fast": Speed(steps=1),
    "balanced": Speed(steps=2),
    "best": Speed(steps=4),
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How to sample.

    Attributes:
        steps: timesteps to visit, as `monai_ddfm.networks.schedulers.space_timesteps` takes them;
            from the sources a number, see `NoiseSchedule.from_noise_level`.
        solver: "ddim", "ddpm" (ancestral) or "dpm++" (second-order multistep).
        rectifier: corrects the clean image at every step.
        eta: DDIM's noise, 0 is deterministic.
        start: "noise", or "sources" at their own noise level.
        excess: noise level to start from over that of the sources, at least 1.
        mirror: show every second step's image to the prior as its mirror image.
        start_timestep: start there from the noised average of the sources; None starts from noise.
        early_stop: a slice is finished when it changes by no more than this in a step.
        speeds: names of other steps, with the timestep to start from.
        name: what `PRESETS` calls it, or the one it was made from; "own" is any other.
    """

    steps: int | str
    solver: SolverName
    rectifier: Rectifier[Any] | Likelihood
    eta: float = 0.0
    start: Start = "noise"
    excess: float = 1.0
    mirror: bool = False
    start_timestep: int | None = None
    early_stop: float | None = None
    speeds: Mapping[str, Speed] = field(default_factory=dict, repr=False, compare=False)
    name: str = field(default="own", repr=False, compare=False)

    def on_grid(self, spacing: Spacing) -> Preset:
        """Return the preset for pixels of a size in mm, where that matters to its likelihood."""
        if not isinstance(self.rectifier, Likelihood):
            return self
        return replace(self, rectifier=self.rectifier.on_grid(spacing))


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "reference": Preset(
            name="reference", steps=100, solver="ddim", rectifier=EMRectifier(luminance="limited")
        ),
        "paper": Preset(
            name="paper", steps=100, solver="ddpm", rectifier=EMRectifier(variant="paper")
        ),
        "gain": Preset(name="gain", steps=16, solver="dpm++", rectifier=InformationGainRectifier()),
        "default": Preset(
            name="default",
            steps=1,
            solver="ddim",
            rectifier=BalanceRectifier(),
            start="sources",
            mirror=True,
            speeds=SPEEDS,
        ),
        "contrast": Preset(
            name="contrast",
            steps=2,
            solver="ddim",
            rectifier=SaliencyRectifier(),
            start="sources",
            mirror=True,
            speeds=SPEEDS,
        ),
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


def configure(
    preset: str | Preset,
    *,
    modality: str | Sequence[str] | None = None,
    finding: float | Sequence[float | None] | None = None,
    prior_share: float | None = None,
    fidelity: float | None = None,
    noise_margin: float | None = None,
    favor_moving: float | None = None,
) -> Preset:
    """Return a preset with a likelihood that fits the sources, and with other settings.

    Args:
        preset: or its name.
        modality: of `moving`; the default takes its resolution, and the preset "contrast" its
            likelihood, see `monai_ddfm.modalities`; others, and None, leave both as they are. One
            for each of several moving sources.
        finding: gray level of `moving`, 0 to 1, from which its brightness is a finding, where its
            units say so (bone in HU), see `Balance`; None is white. One for each of several.
        prior_share: see `BalanceRectifier`; None is the preset's, as below.
        fidelity: see `BalanceRectifier`.
        noise_margin: see `BalanceRectifier`.
        favor_moving: see `Balance`.

    Raises:
        InputError: if the preset has no such parameter, or a value is no number or out of range.
    """
    preset = preset_named(preset) if isinstance(preset, str) else preset
    asked = {
        "prior_share": prior_share,
        "fidelity": fidelity,
        "noise_margin": noise_margin,
        "favor_moving": favor_moving,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    configured = getattr(preset.rectifier, "configured", None)
    for name, value in asked.items():
        text = name.replace("_", " ")
        if configured is None:
            raise InputError(
                f"{text} belongs to the presets default and contrast; leave it out or use one."
            )
        # MONAI's command line hands on as text what it cannot read as a number.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{text} {value!r} is not a number; give one.")
    if configured is None:
        return preset
    return replace(preset, rectifier=configured(modality=modality, finding=finding, **asked))


def without_units(preset: Preset, known: Sequence[bool] = (False,)) -> Preset:
    """Return a preset that takes what is white for a finding, as of sources without units.

    Args:
        preset: as it is for sources with units.
        known: whether a moving source has units, for each.
    """
    rectifier = preset.rectifier
    if not isinstance(rectifier, BalanceRectifier):
        return preset
    plain = Balance()
    white = {f.name: getattr(plain, f.name) for f in fields(plain) if f.name.startswith("finding")}
    balances = zip(rectifier.balances(len(known)), known, strict=True)
    own = [one if has_units else replace(one, **white) for one, has_units in balances]
    changed = replace(rectifier, balance=own[0], further=tuple(own[1:]))
    return replace(preset, rectifier=changed)


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
    level: float | None = None,
) -> Solver:
    """Build the preset's solver for a prior.

    Args:
        preset: names the solver and its steps.
        num_timesteps: length of the prior's training process.
        betas: noise schedule of the prior's training.
        prediction_type: what the prior predicts.
        learns_variance: whether its output carries a variance; only "ddpm" uses it.
        level: noise level that sampling starts at, on the scale from -1 to 1; None starts with
            pure noise.

    Raises:
        InputError: if the steps cannot be placed.
    """
    if level is None:
        schedule = NoiseSchedule.spaced(preset.steps, num_timesteps=num_timesteps, betas=betas)
    else:
        schedule = NoiseSchedule.from_noise_level(
            level, steps=preset.steps, num_timesteps=num_timesteps, betas=betas
        )
    if preset.solver == "ddim":
        return DDIMSolver(schedule, prediction_type, eta=preset.eta)
    if preset.solver == "ddpm":
        variance: Variance = "learned_range" if learns_variance else "fixed_small"
        return DDPMSolver(schedule, prediction_type, variance=variance)
    if preset.solver == "dpm++":
        return DPMSolverPP2M(schedule, prediction_type)
    raise InputError(f"solver {preset.solver!r} is unknown; use ddim, ddpm or dpm++.")


if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(__name__, {"tailored": "configure"})
