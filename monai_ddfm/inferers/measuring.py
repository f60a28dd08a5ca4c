"""The noise of the sources: measured in some slices, and noted for the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_ddfm.inferers.layout import SliceLayout
from monai_ddfm.noise_model import NoiseModel, noise_model
from monai_ddfm.reports import add_report

__all__ = ["noise_of_slices", "note_noise"]

# Enough slices for a quantile of their smooth places; more cost time and change little.
_SLICES: Final = 16


def noise_of_slices(slices: Tensor, layout: SliceLayout) -> NoiseModel:
    """Measure the noise of the noisier source: by choosing, the mode hides some of it.

    Args:
        slices: sources [N, 2, H, W] in [-1, 1] that share their noise.
        layout: which slices are no background.
    """
    numbers = torch.tensor([patch.number for patch in layout.patches])
    spread = torch.linspace(0, len(numbers) - 1, min(len(numbers), _SLICES))
    some = slices[numbers[spread.round().long()].to(slices.device)].float()
    models = [noise_model(source) for source in torch.split(some, 1, dim=1)]
    return max(models, key=lambda model: model.level)


def note_noise(result: Tensor, models: Sequence[NoiseModel | None]) -> None:
    """Attach the report "noise" to a fused volume.

    Args:
        result: [B, C, H, W, D]; without metadata nothing is noted.
        models: noise of the sources by volume, None where it was not measured. Of several volumes
            nothing is noted, for they share their metadata.
    """
    if len(models) == 1 and models[0] is not None and isinstance(result, MetaTensor):
        add_report(result, "noise", models[0].described())
