r"""Several samples of one fusion: their mean, how far they differ, and how stable the weight is.

DDFM samples from a posterior; with noise added at every step (:math:`\eta > 0`) each seed gives
another sample of it. From the sources, sampling then starts at :math:`1 + \eta` times their noise
level, with noise added accordingly (see `monai_ddfm.inferers.presets`). Mean and sum of squared
differences are updated sample by sample (Welford's recurrence), so that memory does not grow with
their number N:

.. math::
    \delta = x_n - m_{n-1}, \qquad m_n = m_{n-1} + \delta / n, \qquad
    M_n = M_{n-1} + \delta\,(x_n - m_n)

* fused luminance: the mean :math:`m_N`, and the standard deviation :math:`\sqrt{M_N / (N - 1)}`;
* weight w of `moving`: the mean, and the stability :math:`1 - 2 \sqrt{M_N / N}`. A number from 0
  to 1 cannot have a standard deviation above 1/2, so the stability is 1 where all samples give the
  same share and 0 where half of them show one source alone and half the other.

A mean of values between the sources lies between them too, so the bound of a single sample holds.

References:
    [1] B. P. Welford, Note on a method for calculating corrected sums of squares and products,
        Technometrics 4 (1962).
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.presets import Preset
from monai_ddfm.utils.reports import copy_report
from monai_ddfm.utils.slabs import slabs

__all__ = ["EnsembleInferer"]

_ETA = 1.0
_REPORTS = ("noise", "planes")


class EnsembleInferer(Inferer):  # type: ignore[misc]
    """Runs a `DDFMInferer` with several seeds and says how much its results differ.

    Args:
        inferer: run with its own seed, the next, and so on.
        samples: how many; 1 hands its result on as it is.
        eta: noise of the steps, more than 0; the solver is then DDIM, or the preset's own if that
            is ancestral ("ddpm"). None is the preset's for one sample, and 1 for several.

    Raises:
        InputError: if `samples` is below 1 or `eta` is not in (0, 1].
    """

    def __init__(self, inferer: DDFMInferer, *, samples: int = 1, eta: float | None = None) -> None:
        if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
            raise InputError(f"samples {samples!r} is unusable; give a whole number, 1 or more.")
        if eta is not None and not (isinstance(eta, int | float) and 0 < eta <= 1):
            raise InputError(f"eta {eta!r} is unusable; give more than 0 and at most 1.")
        self.inferer = inferer
        self.samples = samples
        self.eta = _ETA if eta is None and samples > 1 else eta

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Fuse.

        Args:
            inputs: as `DDFMInferer` takes them.
            network: the prior.
            args: handed on.
            kwargs: handed on.

        Returns:
            For one sample what `DDFMInferer` returns. For several, four channels: mean of the fused
            luminance on the sources' scale, mean share of `moving`, standard deviation of the
            luminance on that scale, and stability of the share in [0, 1].

        Raises:
            InputError: as `DDFMInferer`.
        """
        if self.samples > 1 and inputs.shape[1] > 2:
            raise InputError("several samples are for one moving source; take one sample.")
        if self.samples == 1:
            result: Tensor = self._seeded(0)(inputs, network, *args, **kwargs)
            return result
        first = self._seeded(0)(inputs, network, *args, **kwargs)
        notes = MetaTensor(torch.zeros(0))  # without the sample's voxels
        for name in _REPORTS:
            copy_report(first, notes, name)
        first = first.as_subclass(Tensor)
        merged = first.new_zeros((first.shape[0], 4, *first.shape[2:]), dtype=torch.float32)
        mean, squares = merged[:, :2], merged[:, 2:]
        mean.copy_(first)
        del first
        for number in range(1, self.samples):
            sample = self._seeded(number)(inputs, network, *args, **kwargs).as_subclass(Tensor)
            for rows in slabs(merged.shape[2:]):
                _include(
                    sample[:, :, rows], mean[:, :, rows], squares[:, :, rows], count=number + 1
                )
            del sample  # before the next one is made
        squares[:, :1].div_(self.samples - 1).sqrt_()
        squares[:, 1:].div_(self.samples).sqrt_().mul_(-2).add_(1).clamp_(0, 1)
        # Metadata of the inputs goes on, as from a single sample.
        spread: Tensor = convert_to_dst_type(merged, inputs, dtype=torch.float32)[0]
        for name in _REPORTS:
            copy_report(notes, spread, name)
        return spread

    def __repr__(self) -> str:
        """Say the settings, as the constructor takes them."""
        return f"{type(self).__name__}({self.inferer!r}, samples={self.samples}, eta={self.eta})"

    def _seeded(self, number: int) -> DDFMInferer:
        """Return the inferer with another seed, and with noise in its steps if asked for."""
        inferer = copy(self.inferer)
        inferer.noise = replace(inferer.noise, seed=inferer.noise.seed + number)
        if self.eta is not None:
            inferer.preset = _with_noise(inferer.preset, self.eta)
        return inferer


def _include(sample: Tensor, mean: Tensor, squares: Tensor, *, count: int) -> None:
    """Update mean and squared differences in place by the sample of number `count`."""
    # In between in float64, where the device has it: differences of samples are small.
    exact = torch.float32 if sample.device.type == "mps" else torch.float64
    value = sample.to(exact)
    delta = value - mean
    middle = mean + delta / count
    squares += delta * (value - middle)
    mean.copy_(middle)


def _with_noise(preset: Preset, eta: float) -> Preset:
    if preset.start == "sources":
        # So near the sources the steps alone have next to no noise to differ by.
        preset = replace(preset, excess=max(preset.excess, 1 + eta))
    if preset.solver == "ddpm":
        return preset
    return replace(preset, solver="ddim", eta=eta)
