"""Sources and inferers that the tests of the inferer share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_ddfm.inferers import SPEEDS, DDFMInferer, Preset
from monai_ddfm.likelihoods.rectifiers import SaliencyRectifier


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def head(seed: int, *shape: int) -> Tensor:
    """A volume [1, 2, H, W, D] with background around something round."""
    axes = [torch.linspace(-1.3, 1.3, side) for side in shape]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    return torch.where(radius < 1, uniform(seed, 1, 2, *shape), torch.tensor(-1.0))


FROM_NOISE = Preset(
    steps=16, solver="dpm++", rectifier=SaliencyRectifier(prior_share=0.3), speeds=SPEEDS
)


def from_noise(timesteps: Any = None, **options: Any) -> DDFMInferer:
    """An inferer that samples from pure noise, as the default preset does not."""
    return DDFMInferer(timesteps, **{"preset": FROM_NOISE, **options})
