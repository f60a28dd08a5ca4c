"""Respaced diffusion processes and solvers that step from a given estimate of the clean image."""

from __future__ import annotations

from monai_ddfm.networks.schedulers.process import (
    NoiseSchedule,
    cosine_betas,
    linear_betas,
    space_timesteps,
)
from monai_ddfm.networks.schedulers.solvers import (
    DDIMSolver,
    DDPMSolver,
    DPMSolverPP2M,
    PredictionType,
    Solver,
    SolverState,
    SolverStep,
    Variance,
)

__all__ = [
    "DDIMSolver",
    "DDPMSolver",
    "DPMSolverPP2M",
    "NoiseSchedule",
    "PredictionType",
    "Solver",
    "SolverState",
    "SolverStep",
    "Variance",
    "cosine_betas",
    "linear_betas",
    "space_timesteps",
]
