"""The noise of the sources: measured in some slices, and noted for the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_ddfm.inferers.layout import SliceLayout, chosen
from monai_ddfm.likelihoods.noise_model import NoiseModel, noise_model, noisier
from monai_ddfm.likelihoods.rectifiers import Plan
from monai_ddfm.utils.reports import add_report

__all__ = ["MeasuredNoise", "noise_of_slices", "note_noise"]

# Enough slices for a quantile of their smooth places; more cost time and change little.
_SLICES: Final = 16


def noise_of_slices(slices: Tensor, layout: SliceLayout) -> tuple[NoiseModel, ...]:
    """Measure the noise of the sources.

    Args:
        slices: sources [N, C, H, W] in [-1, 1] that share their noise.
        layout: which slices are no background.

    Returns:
        The noise of fixed and of each moving source.
    """
    patches = layout.patches
    spread = torch.linspace(0, len(patches) - 1, min(len(patches), _SLICES))
    numbers = [patches[place].number for place in spread.round().long().tolist()]
    some = chosen(slices, numbers).float()
    return tuple(noise_model(source) for source in torch.split(some, 1, dim=1))


def note_noise(result: Tensor, measured: Sequence[MeasuredNoise | None]) -> None:
    """Attach the report "noise" to a fused volume.

    Args:
        result: [B, C, H, W, D]; without metadata nothing is noted.
        measured: noise of the sources by volume, None where it was not measured. Of several
            volumes nothing is noted, for they share their metadata.
    """
    if len(measured) == 1 and measured[0] is not None and isinstance(result, MetaTensor):
        add_report(result, "noise", measured[0].described())


@dataclass(frozen=True, slots=True)
class MeasuredNoise:
    """The noise of the sources, and what the prior has to do with it.

    Attributes:
        noises: of fixed and of each moving source.
        shares: of the prior's estimate in each of them; 0 where the prior was not run on a
            source, None where it was run on the fused image.
        margin: how far the noise lets values leave the range between the sources.
        means: of how many by how many pixels of each source the prior was shown means, 1 being the
            pixels themselves; None where it was run on the fused image.
        background: whether the prior was asked of it, too.
    """

    noises: tuple[NoiseModel, ...]
    shares: tuple[float, ...] | None
    margin: float = 0.0
    means: tuple[int, ...] | None = None
    background: bool = True

    @classmethod
    def of(cls, noises: tuple[NoiseModel, ...], plan: Plan, *, background: bool) -> MeasuredNoise:
        """Put together what a plan makes of the noise."""
        shares = plan.shares
        means = None if shares is None else tuple(run.coarse for run in plan.runs)
        return cls(noises, shares, plan.margin, means, background)

    def described(self) -> dict[str, Any]:
        """Return what goes into the record: the noisiest source, then each.

        Several moving sources are numbered, ``moving_1`` and on.
        """
        about: dict[str, Any] = dict(noisier(self.noises).described())
        several = len(self.noises) > 2
        moving = (f"moving_{n}" if several else "moving" for n in range(1, len(self.noises)))
        for number, role in enumerate(("fixed", *moving)):
            about[role] = {**self.noises[number].described()}
            if self.shares is not None:
                about[role]["prior_share"] = self.shares[number]
                if self.shares[number] and self.means is not None:
                    about[role]["pixels_of_a_mean"] = self.means[number] ** 2
        about["margin"] = self.margin
        spared = self.shares is not None and not any(self.shares)
        about["prior"] = "not run" if spared else "run"
        if not spared:
            about["background"] = "sampled" if self.background else "not sampled"
        return about
