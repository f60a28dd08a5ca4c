r"""The rectifier of the default preset: an EM whose hidden variables are the clean sources.

Each source y shows a clean image s through noise n of a measured model, and the fused image f lies
between the clean images, detail by detail, as `monai_ddfm.likelihoods.balance` says:

.. math::

    y_k = s_k + n_k, \qquad s_k \mid f \sim \text{Laplace with fields of scales}, \qquad
    s_k \sim \text{diffusion prior}, \qquad k \in \{\text{fixed}, \text{moving}\} .

*E-step.* The prior's estimate :math:`\hat s_k` of the clean source
(`monai_ddfm.likelihoods.rectifiers. estimate`), and from it the expected precisions. In a source
that shows no noise, :math:`\hat s_k = y_k` is all that the prior could say, and it is not run.

*M-step.* The fused image in closed form, `monai_ddfm.likelihoods.balance.balanced_mode`.

What counts as noise, :math:`\sigma^2` below, is said in
`monai_ddfm.likelihoods.rectifiers.prior_use`.

**Fewer pixels.** Where all sources are background, the clean images are black, and the prior is
not asked. It also may see less of a moving source whose noise outweighs :math:`\sigma_0` and whose
resolution is given: the means of k by k pixels of size h, :math:`2 k h` being at most the full
width at half maximum of a point. The noise of a mean is :math:`\sigma / k`. Finer details are not
there if the resolution is what it is taken for; whether it is has to be found out, and means are
shown where they add at most :math:`(\sigma_0 / 4)^2` to the squared error of the estimate.

There may be several moving sources; nothing of the above counts them. The weights are then those
of `monai_ddfm.likelihoods.shares`.

**The box.** Where no source shows noise, every value lies between the sources. Two noisy sources
can lie on the same side of what they show, and then that box shuts it out. So beside a noisy source
it is as wide as the noise makes it, by a margin of c deviations,

.. math::

    \left[\min_k\left(y_k - c\,r_k\,\sigma_k(y_k)\right),\;
          \max_k\left(y_k + c\,r_k\,\sigma_k(y_k)\right)\right], \qquad
    r_k = q(\hat\sigma)\,\sigma / \hat\sigma,

with the deviation :math:`\sigma_k(\cdot)` of the noise model at that signal. What may still be
texture widens nothing: q rises smoothly from 0 to 1 between levels that no clean slice has been
seen to reach and those of noise that anyone sees. Where both sources are black the box is not
widened: an empty background stays empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from types import MappingProxyType
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from monai_ddfm.likelihoods.balance import Balance, balanced_mode
from monai_ddfm.likelihoods.em import moving_share
from monai_ddfm.likelihoods.noise_model import END_OF_RANGE, NoiseModel
from monai_ddfm.likelihoods.rectifiers.estimate import EstimateRectifier
from monai_ddfm.likelihoods.rectifiers.luminance import at_least_float32
from monai_ddfm.likelihoods.rectifiers.plan import Background, Means, Plan, Run
from monai_ddfm.likelihoods.rectifiers.prior_use import PriorUse
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified
from monai_ddfm.likelihoods.scale_space import Spacing
from monai_ddfm.likelihoods.shares import even_shares
from monai_ddfm.modalities import ROWS, PictureModality

__all__ = ["BalanceRectifier"]

_COARSE: Final = (2, 4)
# Of the prior's error: what means may cost, a sixteenth of its power. Twice that has cost 0.1 dB.
_LOSS: Final = 1 / 4

# Where units tell a finding apart, it sets in within about 100 HU, and can be shown as what it is.
_KNOWN_FINDING: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "finding_width": 0.05,
        "finding_share": 0.97,
        "finding_brightness": 1.0,
        "finding_structure": 0.06,
    }
)

# What is fine and weak is mostly noise in a scan. In a photograph it is walls and leaves.
_TEXTURE_OF_PHOTOGRAPHS: Final[Mapping[str, Any]] = MappingProxyType(
    {"texture_share": 1.0, "texture_grain": 0.004}
)

# On the scale from -1 to 1. Clean slices pass for 0.033 at most, and for half as much again where
# pixels are some millimeters wide; noise of 8 gray levels of 255 for 0.062 to 0.077.
_CLEAR_NOISE: Final = (0.055, 0.075)


@dataclass(frozen=True, kw_only=True)
class BalanceRectifier(PriorUse):
    r"""Fuses the clean images behind two sources, and keeps the result between the sources.

    Attributes:
        balance: parameters of the likelihood.
        further: parameters for a second moving source, a third, and so on, of which resolution and
            findings count; none for those of the first.
        prior_share: k, see `EstimateRectifier`; None chooses it by the noise of each source, and
            does not run the prior on one without noise.
        fidelity: below 1 the fusion that the prior's estimates alone would give is mixed in with
            the rest.
        noise_margin: c above; 0 keeps every value between the sources whatever their noise. Sources
            without clear noise bound the result strictly in any case.
        spacing: size of a pixel in mm.
        skip_background: in noise, do not ask the prior of the background.
        means_of_pixels: in noise, show the prior means of pixels of a moving source in which it
            finds no finer details.

    All others are those of `PriorUse`.

    Raises:
        InputError: if a parameter is out of range.
    """

    balance: Balance = field(default_factory=Balance)
    further: tuple[Balance, ...] = ()
    noise_margin: float = 1.0
    spacing: Spacing = (1.0, 1.0)
    skip_background: bool = True
    means_of_pixels: bool = True

    measures_noise: ClassVar[bool] = True
    starts_from_sources: ClassVar[bool] = True

    def on_grid(self, spacing: Spacing) -> BalanceRectifier:
        """Return this rectifier for pixels of another size, in mm."""
        return replace(self, spacing=spacing)

    def takes(self, moving: int) -> bool:
        """Return whether it fuses so many moving sources, see `Likelihood`."""
        return len(self.further) in (0, moving - 1)

    def balances(self, moving: int) -> tuple[Balance, ...]:
        """Return the parameters of so many moving sources."""
        own = (self.balance, *self.further)
        return own if len(own) == moving else own[:1] * moving

    def configured(
        self,
        *,
        modality: str | Sequence[str] | None,
        finding: float | Sequence[float | None] | None,
        favor_moving: float | None = None,
        **prior_use: Any,
    ) -> BalanceRectifier:
        """Return this rectifier with other parameters.

        Args:
            modality: of `moving`, which has a resolution; others, and None, leave it as it is. One
                for each of several.
            finding: see `Balance`; where units tell it apart, it is shown as what it is. None
                leaves it as it is. One for each of several.
            favor_moving: see `Balance`; None leaves it as it is.
            prior_use: fields of this class.
        """
        balance = self.balance
        if favor_moving is not None:
            balance = replace(balance, favor_moving=favor_moving)
        kinds = [modality] if modality is None or isinstance(modality, str) else list(modality)
        levels = list(finding) if isinstance(finding, Sequence) else [finding] * len(kinds)
        own = [_of_source(balance, *each) for each in zip(kinds, levels, strict=True)]
        return replace(self, balance=own[0], further=tuple(own[1:]), **prior_use)

    def share_for(self, noise_model: NoiseModel) -> float:
        """Return k for a source of that noise; 0 where the prior need not run."""
        if self.prior_share is not None:
            return self.prior_share
        return self.share_by_noise(noise_model) if self.power_beside_texture(noise_model) else 0.0

    def estimator(
        self, noise_model: NoiseModel, *, always: bool = False
    ) -> EstimateRectifier | None:
        """Return what draws the prior's estimate towards a source; None if it need not run.

        Args:
            noise_model: of the noise of the source.
            always: run the prior on a source without noise, too.
        """
        share = self.share_for(noise_model)
        if share == 0 and always and self.prior_share is None:
            share = self.least_share
        if share == 0:
            return None
        return EstimateRectifier(share=share, noise_model=noise_model, luminance=self.luminance)

    def plan(self, noises: tuple[NoiseModel, ...] | None, *, always: bool = False) -> Plan:
        """Plan a run for each source that has noise, see `Likelihood`.

        Raises:
            ValueError: if the noise is not known.
        """
        if noises is None:
            raise ValueError("this rectifier needs the noise of the sources")
        runs, balances = [], self.balances(len(noises) - 1)
        for source, noise_model in enumerate(noises):
            estimator = self.estimator(noise_model, always=always)
            share = 0.0 if estimator is None else estimator.share
            runs.append(
                Run(
                    rectifier=estimator,
                    source=source,
                    noise_model=noise_model,
                    share=share,
                    means=self._means(noise_model, balances[source - 1]) if source else None,
                )
            )
        return Plan(
            runs=tuple(runs),
            fuse=partial(self.fuse, noises=noises),
            background=self._background(noises),
            margin=max(self._reach(model) * model.largest_deviation for model in noises),
        )

    def fuse(
        self, sources: Tensor, estimates: Sequence[Tensor], *, noises: Sequence[NoiseModel]
    ) -> Rectified[None]:
        """Do the M-step.

        Args:
            sources: [B, 1 + N, H, W] in [-1, 1]; channel 0 fixed, the others moving.
            estimates: of the clean sources, fixed and moving, each [B, 1, H, W].
            noises: of the sources, in the same order.

        Returns:
            The fused luminance [B, 1, H, W], as x0 too, and the shares of the moving sources in
            it, [B, N, H, W].
        """
        clean = [at_least_float32(one).clamp(-1, 1) for one in estimates]
        with torch.autocast(sources.device.type, enabled=False):
            # One by one: products of matrices may round otherwise for one image than for several.
            own = self.balances(len(clean) - 1)
            images = zip(*(torch.split(one, 1) for one in clean), strict=True)
            free = torch.cat(
                [
                    balanced_mode(torch.cat(moving), fixed, own, spacing=self.spacing)
                    for fixed, *moving in images
                ]
            )
            fused = free.clamp(*self._box(sources, noises))
            if self.fidelity < 1:
                fused = torch.lerp(free, fused, self.fidelity)
            if len(clean) == 2:
                weight = moving_share(fused, clean[1], clean[0])
            else:
                weight = even_shares(fused, torch.cat(clean, dim=1))[:, 1:]
        return Rectified(fused, None, weight, fused)

    def _means(self, moving: NoiseModel, balance: Balance) -> Means | None:
        """Of which pixels the prior may see means: up to half of the resolution."""
        if not self.means_of_pixels or not self._is_noisy(moving):
            return None
        fits = tuple(k for k in _COARSE if 2 * k * max(self.spacing) <= balance.resolution)
        if not fits:
            return None
        return Means(sides=fits, tolerated=(_LOSS * self.prior_error) ** 2)

    def _background(self, noises: tuple[NoiseModel, ...]) -> Background | None:
        """What becomes of black places; None where no source shows noise."""
        if not self.skip_background or not any(map(self._is_noisy, noises)):
            return None

        def fuse(sources: Tensor) -> Tensor:
            lower, _ = self._box(sources, noises)
            return torch.lerp(torch.full_like(lower, -1), lower, self.fidelity)[:, 0]

        return Background(noise_at_black=tuple(model.at_black for model in noises), fuse=fuse)

    def _is_noisy(self, noise_model: NoiseModel) -> bool:
        """Whether a source's noise outweighs the error of the prior."""
        return self.power_beside_texture(noise_model) > self.prior_error**2

    def _reach(self, noise_model: NoiseModel) -> float:
        """By how many deviations of its noise a source widens the box: c r above."""
        power = self.power_beside_texture(noise_model)
        margin = self.noise_margin * _clearness(noise_model.level)
        return margin * math.sqrt(power) / noise_model.level if power * margin else 0.0

    def _box(self, sources: Tensor, noises: Sequence[NoiseModel]) -> tuple[Tensor, Tensor]:
        """The range of the result: between the sources, give or take the margin."""
        every = [at_least_float32(source) for source in torch.split(sources, 1, dim=1)]
        lower, upper = reduce(torch.minimum, every), reduce(torch.maximum, every)
        lit = upper > -END_OF_RANGE
        for source, noise_model in zip(every, noises, strict=True):
            deviations = self._reach(noise_model)
            if deviations == 0:
                continue
            reach = deviations * noise_model.deviation(source)
            lower = torch.minimum(lower, (source - reach).clamp_min(-1))
            upper = torch.where(lit, torch.maximum(upper, (source + reach).clamp_max(1)), upper)
        return lower, upper


def _clearness(level: float) -> float:
    """Say how certain it is that a measured level is noise: q above."""
    begin, end = _CLEAR_NOISE
    rise = min(max((level - begin) / (end - begin), 0.0), 1.0)
    return rise * rise * (3 - 2 * rise)


def _of_source(balance: Balance, modality: str | None, finding: float | None) -> Balance:
    """Return parameters for a moving source of a modality, with the finding that its units tell."""
    if (row := ROWS.get(str(modality).upper())) is not None:
        balance = replace(balance, resolution=row.resolution)
    if finding is not None:
        balance = replace(balance, finding=finding, **_KNOWN_FINDING)
    if str(modality).upper() == PictureModality.IR:
        balance = replace(balance, **_TEXTURE_OF_PHOTOGRAPHS)
    return balance
