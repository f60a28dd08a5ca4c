r"""Several samples of one fusion: how far they differ, and how stable the weight is.

**Sources drawn again.** Where something draws the sources as other scans and another registration
might have shown them (`SourceDraws`), the fusion f itself is that of the sources as they are, and
every draw is fused in the same way to an :math:`f_n`; its noise is not measured again, for it has
more. What was done to the true sources to get those of the run is done to these to get a draw. So
:math:`f_n - f` stands for :math:`f - t`, t being the fusion of clean sources that lie right (the
parametric bootstrap [1]). Of the N draws

.. math::
    v = \frac1N \sum_n (f_n - f)^2, \qquad s^2 = \tfrac12 (v + \bar v), \qquad f \pm t_{3N}\, s ,

:math:`\bar v` being the mean over 3 x 3 pixels, for a few draws say little of a single pixel. That
mean of N squares is worth about 3N independent ones, so :math:`t_{3N}` is the quantile of Student's
distribution of as many degrees of freedom, for an interval of 90 percent. About f, not about the
draws' mean: what noise or a displacement does to all draws alike is an error of f, too, and of
unknown sign.

With the deviation :math:`s_w` of the weight, found likewise, the stability is the probability that
the weight is right within a fifth, :math:`\operatorname{erf}(0.2 / (\sqrt2\, s_w))`. Several moving
sources have each a weight, and a stability of it.

**Other seeds.** Without draws, DDFM samples from a posterior; with noise added at every step
(:math:`\eta > 0`) each seed gives another sample of it. From the sources, sampling then starts at
:math:`1 + \eta` times their noise level, with noise added accordingly (see
`monai_ddfm.inferers.presets`). Mean and sum of squared differences are updated sample by sample
(Welford's recurrence [2]), so that memory does not grow with their number N:

.. math::
    \delta = x_n - m_{n-1}, \qquad m_n = m_{n-1} + \delta / n, \qquad
    M_n = M_{n-1} + \delta\,(x_n - m_n)

* fused luminance: the mean :math:`m_N`, and the standard deviation :math:`\sqrt{M_N / (N - 1)}`;
* weight w of each moving source: the mean, and the stability :math:`1 - 2 \sqrt{M_N / N}`. A
  number from 0 to 1 cannot have a standard deviation above 1/2, so the stability is 1 where all
  samples give the same share and 0 where half of them show one source alone and half the other.

A mean of values between the sources lies between them too, so the bound of a single sample holds.

References:
    [1] B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
    [2] B. P. Welford, Note on a method for calculating corrected sums of squares and products,
        Technometrics 4 (1962).
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any, Final, Protocol

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.ddfm import DDFMInferer
from monai_ddfm.inferers.presets import Preset
from monai_ddfm.likelihoods.noise_model import NoiseModel
from monai_ddfm.utils.reports import copy_report, reports_of
from monai_ddfm.utils.slabs import slabs

__all__ = ["RIGHT_WITHIN", "EnsembleInferer", "SourceDraws", "deviations_of"]

_ETA = 1.0
_REPORTS = ("noise", "planes")
_COVERAGE: Final = 0.90
_LEAST_DEVIATION: Final = 1e-6
_ASIDE: Final = 3  # pixels, along a side, whose mean square is asked, too
_WORTH: Final = 3  # squares of a draw, of a pixel and the mean around it, that are independent
RIGHT_WITHIN: Final = 0.2
"""By how much a weight may be off and count as right."""


class SourceDraws(Protocol):
    """Draws the sources of a fusion again."""

    def __call__(self, number: int, sources: Tensor) -> Tensor:
        """Return draw `number`, from 1, of sources [1, C, ...] in [-1, 1]; they are not changed."""
        ...


class EnsembleInferer(Inferer):  # type: ignore[misc]
    """Runs a `DDFMInferer` with several seeds and says how much its results differ.

    Args:
        inferer: run with its own seed, the next, and so on.
        samples: how many; 1 hands its result on as it is.
        eta: noise of the steps, more than 0; the solver is then DDIM, or the preset's own if that
            is ancestral ("ddpm"). None is the preset's for one sample and where sources are drawn,
            and 1 for several seeds.

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
        self.eta = eta

    def __call__(
        self,
        inputs: Tensor,
        network: nn.Module,
        *args: Any,
        draws: SourceDraws | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Fuse.

        Args:
            inputs: as `DDFMInferer` takes them.
            network: the prior.
            args: handed on.
            draws: draws the sources again; None uses other seeds alone.
            kwargs: handed on.

        Returns:
            For one sample what `DDFMInferer` returns. For several seeds, four channels: mean of the
            fused luminance on the sources' scale, mean share of `moving`, standard deviation of the
            luminance on that scale, and stability of the share in [0, 1]. For sources drawn again,
            six: luminance and share of the fusion as without samples, deviation of the draws from
            that luminance, stability of the share, and the ends of the luminance's interval. With
            several moving sources, a channel for the share of each, and one for its stability, in
            their order.

        Raises:
            InputError: as `DDFMInferer`.
        """
        if self.samples == 1:
            result: Tensor = self._seeded(0, self.eta)(inputs, network, *args, **kwargs)
            return result
        if draws is not None:
            return self._drawn(inputs, network, *args, draws=draws, **kwargs)
        eta = _ETA if self.eta is None else self.eta
        first = self._seeded(0, eta)(inputs, network, *args, **kwargs)
        notes, first = _notes(first), first.as_subclass(Tensor)
        plain = first.shape[1]  # channels of a plain fusion: luminance and shares
        merged = first.new_zeros((first.shape[0], 2 * plain, *first.shape[2:]), dtype=torch.float32)
        mean, squares = merged[:, :plain], merged[:, plain:]
        mean.copy_(first)
        del first
        for number in range(1, self.samples):
            sample = self._seeded(number, eta)(inputs, network, *args, **kwargs)
            sample = sample.as_subclass(Tensor)
            for rows in slabs(merged.shape[2:]):
                _include(
                    sample[:, :, rows], mean[:, :, rows], squares[:, :, rows], count=number + 1
                )
            del sample  # before the next one is made
        squares[:, :1].div_(self.samples - 1).sqrt_()
        squares[:, 1:].div_(self.samples).sqrt_().mul_(-2).add_(1).clamp_(0, 1)
        return _with_notes(merged, inputs, notes)

    def _drawn(
        self, inputs: Tensor, network: nn.Module, *args: Any, draws: SourceDraws, **kwargs: Any
    ) -> Tensor:
        """Fuse the sources, and as often draws of them."""
        fusion = self._seeded(0, self.eta)(inputs, network, *args, **kwargs)
        notes, fusion = _notes(fusion), fusion.as_subclass(Tensor)
        noises = _noises(notes)
        plain = fusion.shape[1]  # channels of a plain fusion: luminance and shares
        shape = (fusion.shape[0], 2 * plain + 2, *fusion.shape[2:])
        merged = fusion.new_zeros(shape, dtype=torch.float32)
        merged[:, :plain] = fusion
        del fusion
        for number in range(1, self.samples + 1):
            inferer = self._seeded(number, self.eta)
            inferer.noises = noises
            sample = inferer(draws(number, inputs), network, *args, **kwargs).as_subclass(Tensor)
            for rows in slabs(merged.shape[2:]):
                _add(sample[:, :, rows], merged[:, :, rows])
            del sample  # before the next one is made
        for channel in range(plain, 2 * plain):
            merged[:, channel] = _pooled(merged[:, channel] / self.samples, self.inferer.axis)
        for rows in slabs(merged.shape[2:]):
            _conclude(merged[:, :, rows], self.samples)
        return _with_notes(merged, inputs, notes)

    def __repr__(self) -> str:
        """Say the settings, as the constructor takes them."""
        return f"{type(self).__name__}({self.inferer!r}, samples={self.samples}, eta={self.eta})"

    def _seeded(self, number: int, eta: float | None) -> DDFMInferer:
        """Return the inferer with another seed, and with noise in its steps if asked for."""
        inferer = copy(self.inferer)
        noise = inferer.sampling_noise
        inferer.sampling_noise = replace(noise, seed=noise.seed + number)
        if eta is not None:
            inferer.preset = _with_noise(inferer.preset, eta)
        return inferer


def deviations_of(level: float, samples: int) -> float:
    """Return how many deviations of so many draws an interval of a level reaches to either side."""
    return float(stats.t.ppf((1 + level) / 2, _WORTH * samples))


def _notes(result: Tensor) -> Tensor:
    """Return what a result says of itself, without its voxels."""
    notes: Tensor = MetaTensor(torch.zeros(0))
    for name in _REPORTS:
        copy_report(result, notes, name)
    return notes


def _noises(notes: Tensor) -> tuple[NoiseModel, ...] | None:
    """Return the noise of the sources that the fusion has measured."""
    measured = reports_of(notes).get("noise")
    if measured is None:
        return None
    moving = [role for role in measured if role.startswith("moving")]
    return tuple(NoiseModel.of(measured[role]) for role in ("fixed", *moving))


def _with_notes(merged: Tensor, inputs: Tensor, notes: Tensor) -> Tensor:
    """Return channels with the metadata of the inputs, as from a single sample, and with notes."""
    result: Tensor = convert_to_dst_type(merged, inputs, dtype=torch.float32)[0]
    for name in _REPORTS:
        copy_report(notes, result, name)
    return result


def _include(sample: Tensor, mean: Tensor, squares: Tensor, *, count: int) -> None:
    """Update mean and squared differences in place by the sample of number `count`."""
    # In between in float64, where the device has it: differences of samples are small.
    exact = torch.float32 if sample.device.type == "mps" else torch.float64
    value = sample.to(exact)
    delta = value - mean
    middle = mean + delta / count
    squares += delta * (value - middle)
    mean.copy_(middle)


def _add(sample: Tensor, merged: Tensor) -> None:
    """Add a draw's squared distances from luminance and shares to the channels behind them."""
    plain = sample.shape[1]
    merged[:, plain : 2 * plain] += (sample - merged[:, :plain]).square()


def _pooled(squares: Tensor, axis: int) -> Tensor:
    """Return the mean of squares [B, H, W(, D)] and of their mean around, across `axis`."""
    volume = squares.ndim == 4
    size = [1 if volume and number == axis else _ASIDE for number in range(squares.ndim - 1)]
    mean: Tensor = (functional.avg_pool3d if volume else functional.avg_pool2d)(
        squares[:, None],
        size,
        stride=1,
        padding=[side // 2 for side in size],
        count_include_pad=False,
    )
    return mean[:, 0].add_(squares).div_(2)


def _conclude(merged: Tensor, count: int) -> None:
    """Make of the mean squares of `count` draws the deviation, stabilities, and the interval."""
    plain = merged.shape[1] // 2 - 1
    fused, of_shares = merged[:, 0], merged[:, plain + 1 : 2 * plain]
    deviation = merged[:, plain].sqrt()
    reach = deviations_of(_COVERAGE, count) * deviation
    merged[:, plain] = deviation
    of_shares.copy_(torch.erf(RIGHT_WITHIN / (2 * of_shares).sqrt().clamp_min(_LEAST_DEVIATION)))
    merged[:, -2] = (fused - reach).clamp_min(-1)
    merged[:, -1] = (fused + reach).clamp_max(1)


def _with_noise(preset: Preset, eta: float) -> Preset:
    if preset.start == "sources":
        # So near the sources the steps alone have next to no noise to differ by.
        preset = replace(preset, excess=max(preset.excess, 1 + eta))
    if preset.solver == "ddpm":
        return preset
    return replace(preset, solver="ddim", eta=eta)
