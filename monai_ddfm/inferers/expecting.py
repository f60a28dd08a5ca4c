r"""How long a fusion will sample, measured in its first moments.

The inferer begins with the MRI and noise in place of all sources, and is stopped after the second
evaluation of the network. With :math:`t_1` seconds until the first and :math:`t` from there to the
second, S evaluations of every batch, and as many batches as the volume has,

.. math::
    t_1 + t\,(S \cdot \text{batches} - 1)

seconds are expected. Noise is added so that the prior is run; it may be spared on clean sources.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.ensemble import EnsembleInferer
from monai_ddfm.inferers.progress import SamplingProgress
from monai_ddfm.likelihoods.rectifiers import likelihood_of

__all__ = ["ExpectedSampling", "expected_sampling"]

_NOISE = 0.1


@dataclass(frozen=True, kw_only=True)
class ExpectedSampling:
    """What is to be expected of the sampling of a volume.

    Attributes:
        preset: its name.
        fusions: how often the volume is fused.
        seconds: for all of them, if the sources are noisy.
        may_spare_prior: whether clean sources are fused without the network.
    """

    preset: str
    fusions: int
    seconds: float
    may_spare_prior: bool


def expected_sampling(
    ensemble: EnsembleInferer,
    network: nn.Module,
    fixed: Tensor,
    *,
    moving: int = 1,
    device: torch.device,
) -> ExpectedSampling:
    """Measure the first evaluations of the network.

    Args:
        ensemble: as it would run.
        network: the prior.
        fixed: [1, H, W, D] in [-1, 1].
        moving: number of moving sources.
        device: of the network.
    """
    preset = ensemble.inferer.preset
    clean = preset.start == "sources" and preset.eta == 0 and preset.excess <= 1
    # The fusion itself, and one of every draw of its sources.
    fusions = ensemble.samples + 1 if ensemble.samples > 1 else 1
    each = _seconds(ensemble.inferer, network, fixed, moving=moving, device=device)
    return ExpectedSampling(
        preset=preset.name,
        fusions=fusions,
        seconds=fusions * each,
        may_spare_prior=clean
        and ensemble.eta is None
        and likelihood_of(preset.rectifier).measures_noise,
    )


class _EnoughError(Exception):
    """The inferer has shown how fast it is."""


def _seconds(
    inferer: DDFMInferer, network: nn.Module, fixed: Tensor, *, moving: int, device: torch.device
) -> float:
    """Measure the first evaluations of the network, and return what all of them would take."""
    volume = fixed.as_subclass(Tensor).to(device)
    noise = torch.randn(volume.shape, generator=torch.Generator().manual_seed(0)).to(device)
    noisy = torch.where(volume > -1, (volume + _NOISE * noise).clamp(-1, 1), volume)
    seen: list[tuple[float, SamplingProgress]] = []

    def note(progress: SamplingProgress) -> None:
        seen.append((perf_counter(), progress))
        if len(seen) > 1 or progress.step == progress.steps:
            raise _EnoughError

    probe = copy(inferer)
    probe.store, probe.progress = None, note
    begin = perf_counter()
    with suppress(_EnoughError), torch.no_grad():
        probe(torch.cat([noisy] * (1 + moving))[None], network)
    if not seen:  # nothing but background
        return 0.0
    (first, _), (last, progress) = seen[0], seen[-1]
    each = last - first if len(seen) > 1 else last - begin
    batches = progress.slices / progress.slices_in_batch
    return first - begin + each * (progress.steps * batches - 1)
