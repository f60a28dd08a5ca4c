"""Rectifiers: objects that correct the clean image a diffusion model predicts, at every step."""

from __future__ import annotations

from monai_ddfm.rectifiers.expectation_maximization import EMRectifier
from monai_ddfm.rectifiers.identity import IdentityRectifier
from monai_ddfm.rectifiers.luminance import Luminance
from monai_ddfm.rectifiers.protocol import Rectified, Rectifier
from monai_ddfm.rectifiers.salience import SaliencyRectifier, SaliencyState

__all__ = [
    "EMRectifier",
    "IdentityRectifier",
    "Luminance",
    "Rectified",
    "Rectifier",
    "SaliencyRectifier",
    "SaliencyState",
]
