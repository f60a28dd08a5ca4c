"""Rectifiers: objects that correct the clean image a diffusion model predicts, at every step."""

from __future__ import annotations

from monai_ddfm.likelihoods.rectifiers.balance import BalanceRectifier
from monai_ddfm.likelihoods.rectifiers.estimate import EstimateRectifier
from monai_ddfm.likelihoods.rectifiers.expectation_maximization import EMRectifier
from monai_ddfm.likelihoods.rectifiers.identity import IdentityRectifier
from monai_ddfm.likelihoods.rectifiers.information_gain import (
    InformationGainRectifier,
    InformationGainState,
)
from monai_ddfm.likelihoods.rectifiers.luminance import Luminance
from monai_ddfm.likelihoods.rectifiers.plan import (
    Background,
    Likelihood,
    Means,
    Plan,
    Run,
    likelihood_of,
)
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified, Rectifier, SourceRectifier
from monai_ddfm.likelihoods.rectifiers.saliency import SaliencyRectifier, SaliencyState

__all__ = [
    "Background",
    "BalanceRectifier",
    "EMRectifier",
    "EstimateRectifier",
    "IdentityRectifier",
    "InformationGainRectifier",
    "InformationGainState",
    "Likelihood",
    "Luminance",
    "Means",
    "Plan",
    "Rectified",
    "Rectifier",
    "Run",
    "SaliencyRectifier",
    "SaliencyState",
    "SourceRectifier",
    "likelihood_of",
]
