r"""A likelihood that lets a reader find in the fused image what either source shows.

DDFM's likelihood [1, section 3.3] measures what is left between each source and the fused image by
a Laplace distribution of one scale for the whole image, written as a mixture of Gaussians over
precisions. Here the scales are fields, one for each size of detail, and the precisions that the
E-step expects follow from how much the sources vary around a place.

**Grain.** Sources v (fixed) and i (moving) in [0, 1] are split by scale into details
:math:`d_l^v, d_l^i` (`monai_ddfm.likelihoods.scale_space`). What is no larger in them than grain is
left out, as a Wiener filter does, for it would be amplified below. Grain has the deviation n in the
finest details, and less in coarser ones; the Gaussian windows :math:`W_l` are as small as the
details, for a lesion in uniform tissue is small, too:

.. math::

    d_l \leftarrow \frac{p_l}{p_l + n_l^2}\,d_l, \qquad p_l = W_l * d_l^2, \qquad
    n_l = n\,\sigma_1 / \sigma_l .

**Texture.** The finest, of a millimetre, is sharpness: no PET or SPECT resolves it, and a
reader's eye hardly finds a lesion by it. It is shown from the source that has it, by the local
energies :math:`E = W_0 * d_0^2`. Most of the noise that the prior leaves is there. So what is
weaker than a deviation :math:`n_0` all around is left out, as grain is, and the rest is shown a
little less than in full,

.. math::

    t = \theta\,\frac{E^v \tilde d_0^v + E^i \tilde d_0^i}{E^v + E^i}, \qquad
    \tilde d_0 = \frac{E}{E + n_0^2}\,d_0 .

**Details.** The local deviations of the others, in windows W of one size,

.. math::

    s_l = \sqrt{W * d_l^2 + \epsilon^2},

are the scales of the distributions: where a source varies much, a difference of the same size means
less. The expected precisions are the inverse local variances, :math:`C_l = e^{\lambda} / (s_l^i)^2`
and :math:`D_l = 1 / (s_l^v)^2` with a lean :math:`\lambda` to `moving`. Were both sources shown by
the same rule in all sizes, a signal that is bright in one and dark in the other would cancel. So at
each size one of them leads. Up to a *crossover* scale it is `moving`, where it resolves details of
that size, for what a CT shows of the brain there is rare. A source that does not resolve them, PET
or SPECT, has few sizes of its own. Beside it `fixed` leads, and it keeps a part :math:`\kappa` of
its share, up to a scale that is somewhat larger. A leader leads where it has details at all; where
it is smooth, by :math:`o_l = n_l^2 / (s_l^2 + n_l^2)`, the other has what it would have without it.
The M-step is the weighted mean

.. math::

    m_l = \frac{C_l d_l^i + o_l^i D_l d_l^v}{C_l + D_l} \quad \text{or} \quad
    m_l = \frac{(\kappa + (1 - \kappa)\,o_l^v)\,C_l d_l^i + D_l d_l^v}{C_l + D_l} .

Beyond it, where the anatomy of an MRI is (gray and white matter, ventricles), it is `fixed` alone:
:math:`m_l = d_l^v`. A reader who sees all sizes finds either source in its own. The large-scale
contrast of `moving` stays in the smooth rest, :math:`m_L = (1 - w_r) c_L^v + w_r c_L^i`.

**Contrast.** A weighted mean has less contrast than its sources, and next to the edges of the skull
a lesion is lost. Details are therefore seen through a local gain, which is large where there is
little and small where there is much. Coarser details have more contrast by nature, and a gain that
took it for little would make clouds of the shading of wide uniform tissue; so they begin to be less
amplified later,

.. math::

    a_l = \frac{g_l}{1 + s_l^m / \tau_l}\,m_l, \qquad s_l^m = \sqrt{W * m_l^2}, \qquad
    \tau_l = \tau \sqrt{\sigma_l / \sigma_1} .

**Findings.** What is white in `moving`, and brighter than `fixed`, is a finding by its brightness
alone (cortical bone in CT, a hot lesion): from a level b on, with :math:`\eta` of the slightly
blurred level rising smoothly from 0 to :math:`\eta_1` around b. Sources without their texture are
meant here. The first part is brought softly into their range, so that details that the gain takes
beyond it do not vanish at its ends:

.. math::

    m = (1 - \eta)\, T\left(m_L + \sum_l a_l\right) + \eta \left(\beta\, i + h\right) + t, \qquad
    h = q \tanh \frac1q \sum_l \frac{g_v\,d_l^v}{1 + s_l^v / \tau_v},

with :math:`T(x) = \tfrac{u + o}{2} + \tfrac{o - u}{2} \tanh \varsigma\,\tfrac{2 x - u - o}{o - u}`
between the lower and the upper source, u and o. The steeper it is, the nearer the fused level is to
that of one source, usually `fixed`, and the less two opposed signals meet in the middle, where
there is no room for both. A finding keeps its brightness, but for q at most,
and the MRI's structure within it stays.

**Bound.** The result is cut to the box :math:`[\min(i, v), \max(i, v)]`: with TV off every value
lies between the sources, nothing is invented.

**Several moving sources** :math:`i_1, \dots, i_N`. The same, with the same arithmetic for one. At
a scale each source is in one of three roles. It leads where it resolves the details, and it shares
where it does not; beyond its crossover it is coarse, and has none. `fixed` leads where no other
does. Precisions are made shares of one sum over those that lead or share,

.. math::

    m_l = \frac{\sum_k \rho_k C_{l,k}\,d_l^k + \rho_0 D_l\,d_l^v}{\sum_k C_{l,k} + D_l}, \qquad
    m_L = (1 - w_r)\,c_L^v + \frac{w_r}{N} \sum_k c_L^k,

with :math:`\rho_k` of 1 for what leads, and :math:`\kappa + (1 - \kappa)\,o_l^v` for what shares;
:math:`\rho_0` is the product of :math:`o_l` over all moving sources that lead. Each has findings of
its own; where those of two meet, the stronger one is shown. The box reaches from the smallest to
the largest source.

How it was found, and what it is worth, is in docs/concepts/default.md.

References:
    [1] Z. Zhao et al., DDFM, ICCV 2023, arXiv 2303.06840.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.scale_space import Spacing, gaussian, split_scales

__all__ = ["Balance", "balanced_mode"]

Role = Literal["leads", "shares", "coarse"]
"""What a moving source does in details of one size."""

_STRUCTURE_GAIN = 5.0
_STRUCTURE_CEILING = 0.04
_STRUCTURE_SCALES = (2.0, 4.0, 8.0)
_LEVEL_BLUR = 0.7
_TEXTURE_WINDOW = 3.0
_LEAST_ENERGY = 1e-6


_SHARES = ("texture_share", "fine_rest", "rest_share", "finding_share", "finding_brightness")
_POSITIVE = (
    "grain",
    "texture_grain",
    "steepness",
    "texture_scale",
    "resolution",
    "window",
    "ceiling",
    "deviation_floor",
    "finding_width",
    "finding_structure",
    "largest_ratio",
)


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Parameters of the likelihood; symbols as above, lengths in mm, values in [0, 1].

    Attributes:
        texture_scale: sigma of the Gaussian that splits off the texture.
        texture_share: theta, how much of the texture is shown, 0 to 1.
        texture_grain: n_0, local deviation of texture at which it counts half as noise.
        scales: sigma of the successive Gaussians after it, finest first.
        crossover: in details of scales up to this one `moving` leads if it resolves them, in larger
            ones `fixed`.
        sharing: a source that does not resolve those of the crossover shares in details of scales
            up to this one, with `fixed` in the lead.
        resolution: of `moving`, full width at half maximum; in details of smaller scales, sigma of
            a Gaussian, it has nothing of its own, and `fixed` leads.
        window: sigma of the windows W.
        lean: lambda, how much louder `moving` is in details where it leads or shares, as a natural
            logarithm.
        fine_rest: kappa, what a source that does not resolve them keeps of its share, 0 to 1.
        rest_share: w_r, share of `moving` in what is larger than all scales.
        gains: g, gain of the details of each scale where there are hardly any.
        ceiling: tau, local deviation of the finest details at which their gain has halved.
        steepness: varsigma, of the curve that brings the result into the range of the sources.
        grain: n, local deviation of the finest details at which they count half as noise.
        deviation_floor: epsilon, local deviation that counts as none.
        largest_ratio: by how much the deviations of the sources may differ; what exceeds it is cut.
        finding: b, gray level of `moving` in the middle of the rise of eta.
        finding_width: half width of that rise.
        finding_share: eta_1; 0 treats white as anything else.
        finding_brightness: beta, of the brightness of a finding.
        finding_structure: q, by how much the structure of `fixed` in it may change a finding.
        favor_moving: in favor of the bright parts of `moving`: this times its brightness is added
            to the lean and, as f > 0, gives it the share 1 - exp(-f) of coarse details; 0 is none.

    Raises:
        InputError: if a parameter is out of range.
    """

    texture_scale: float = 1.1
    texture_share: float = 0.85
    texture_grain: float = 0.0275
    scales: tuple[float, ...] = (0.67, 2.35, 4.3, 7.0)
    crossover: float = 2.35
    sharing: float = 4.3
    resolution: float = 1.0
    window: float = 9.0
    lean: float = 0.945
    fine_rest: float = 0.415
    rest_share: float = 0.435
    gains: tuple[float, ...] = (9.7, 5.7, 2.47, 2.49)
    ceiling: float = 0.0145
    steepness: float = 3.1
    grain: float = 0.0089
    deviation_floor: float = 0.004
    largest_ratio: float = 2.25
    finding: float = 0.81
    finding_width: float = 0.09
    finding_share: float = 0.82
    finding_brightness: float = 1.0
    finding_structure: float = 0.16
    favor_moving: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("scales", "gains") and not _is_finite(value):
                raise InputError(f"{_words(field.name)} {value!r} must be a finite number.")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{_words(name)} must lie between 0 and 1.")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"{_words(name)} must be more than 0.")
        if self.largest_ratio < 1:
            raise InputError("largest ratio must be at least 1.")
        if not isinstance(self.scales, tuple) or not self.scales:
            raise InputError("scales must be lengths in mm, at least one.")
        if not all(_is_finite(scale) and scale > 0 for scale in self.scales):
            raise InputError("scales must be lengths of more than 0 mm.")
        if list(self.scales) != sorted(self.scales):
            raise InputError("scales must rise, the finest first.")
        if not isinstance(self.gains, tuple) or not all(map(_is_finite, self.gains)):
            raise InputError("gains must be finite numbers.")
        if len(self.gains) != len(self.scales):
            raise InputError(
                f"gains are {len(self.gains)} and scales {len(self.scales)}; give one for each."
            )


def balanced_mode(
    moving: Tensor,
    fixed: Tensor,
    balance: Balance | Sequence[Balance],
    *,
    spacing: Spacing = (1.0, 1.0),
) -> Tensor:
    """Return the mode m of the likelihood above.

    Args:
        moving: source i, [1, 1, H, W] in [-1, 1]; several, [N, 1, H, W].
        fixed: source v, [1, 1, H, W].
        balance: the likelihood's parameters; of several moving sources one for each, of which
            resolution and findings are each source's own, and all else is that of the first.
        spacing: size of a pixel in mm.

    Returns:
        Estimate of the fused image, [1, 1, H, W], between the sources in every pixel.

    Raises:
        ValueError: if there are not as many parameters as moving sources.
    """
    own = (balance,) if isinstance(balance, Balance) else tuple(balance)
    if len(own) != len(moving):
        raise ValueError(f"{len(own)} parameters do not fit {len(moving)} moving sources")
    sources = torch.cat([fixed, moving])
    every = (sources + 1) / 2
    smooth = gaussian(every, sigma=own[0].texture_scale, spacing=spacing)
    estimate = _mixed_details(smooth, own, spacing)
    estimate = _with_findings(smooth, estimate, own, spacing)
    estimate = estimate + own[0].texture_share * _texture(every - smooth, own[0], spacing)
    result = estimate.clamp(every.amin(0, keepdim=True), every.amax(0, keepdim=True)) * 2 - 1
    # Once more on their own scale, for rounding.
    return result.clamp(sources.amin(0, keepdim=True), sources.amax(0, keepdim=True))


def _mixed_details(every: Tensor, own: Sequence[Balance], spacing: Spacing) -> Tensor:
    """What the details of fixed and moving, [1 + N, 1, H, W], and their rest are fused to."""
    balance = own[0]
    details, rest = split_scales(every, scales=balance.scales, spacing=spacing)
    estimate = torch.lerp(rest[:1], rest[1:].mean(0, keepdim=True), balance.rest_share)
    for scale, gain, detail in zip(balance.scales, balance.gains, details, strict=True):
        grain = balance.grain * balance.scales[0] / scale
        clear = _clear(detail, _power(detail, scale, spacing), grain)
        roles = [_role(scale, balance, resolution=one.resolution) for one in own]
        mixed = _mixture(clear, every[1:], balance, spacing, roles=roles, grain=grain)
        spread = _deviation(mixed, 0.0, balance.window, spacing)
        ceiling = balance.ceiling * math.sqrt(scale / balance.scales[0])
        estimate = estimate + gain / (1 + spread / ceiling) * mixed
    bounds = every.amin(0, keepdim=True), every.amax(0, keepdim=True)
    return _within(estimate, *bounds, steepness=balance.steepness)


def _role(scale: float, balance: Balance, *, resolution: float) -> Role:
    """What a moving source of that resolution does in details of a scale."""
    if resolution <= min(scale, balance.crossover):
        return "leads" if scale <= balance.crossover else "coarse"
    return "shares" if scale <= max(balance.crossover, balance.sharing) else "coarse"


def _within(estimate: Tensor, lower: Tensor, upper: Tensor, *, steepness: float) -> Tensor:
    """Bring an estimate softly into a range."""
    width = (upper - lower).clamp_min(torch.finfo(estimate.dtype).tiny)
    share = 0.5 + 0.5 * torch.tanh(steepness * (2 * (estimate - lower) / width - 1))
    return torch.lerp(lower, upper, share)


def _deviation(detail: Tensor, floor: float, window: float, spacing: Spacing) -> Tensor:
    """Local deviation s, of the shape of `detail`."""
    return (_power(detail, window, spacing) + floor**2).sqrt()


def _power(detail: Tensor, window: float, spacing: Spacing) -> Tensor:
    """Local mean square, of the shape of `detail`."""
    return gaussian(detail.square(), sigma=window, spacing=spacing)


def _texture(detail: Tensor, balance: Balance, spacing: Spacing) -> Tensor:
    """Texture of fixed and moving without grain, [1 + N, 1, H, W] to [1, 1, H, W]."""
    power = _power(detail, _TEXTURE_WINDOW, spacing)
    clear = _clear(detail, power, balance.texture_grain)
    energy = power + _LEAST_ENERGY
    return (energy * clear).sum(0, keepdim=True) / energy.sum(0, keepdim=True)


def _clear(detail: Tensor, power: Tensor, grain: float) -> Tensor:
    """Leave out of details of a local power what is no larger than grain."""
    return detail * power / (power + grain**2)


def _mixture(
    detail: Tensor,
    moving: Tensor,
    balance: Balance,
    spacing: Spacing,
    *,
    roles: Sequence[Role],
    grain: float,
) -> Tensor:
    """Details of one scale, [1 + N, 1, H, W] to [1, 1, H, W], by the roles of the N sources."""
    fixed, *others = torch.split(detail, 1)
    bright = torch.split(moving, 1)
    coarse = [number for number, role in enumerate(roles) if role == "coarse"]
    fine = [number for number in range(len(roles)) if number not in coarse]
    mixed = fixed
    if fine:
        spread, *spreads = torch.split(
            _deviation(detail, balance.deviation_floor, balance.window, spacing), 1
        )
        limit = math.log(balance.largest_ratio)
        odds = []
        for number in fine:
            ratio = (spread / spreads[number]).log().clamp(-limit, limit)
            odds.append(2 * ratio + balance.lean + balance.favor_moving * bright[number])
        share = _shares(torch.cat(odds))
        mixed = (1 - share.sum(0, keepdim=True)) * fixed
        for number in fine:
            if roles[number] == "leads":
                mixed = mixed * grain**2 / (spreads[number].square() + grain**2)
        absent = grain**2 / (spread.square() + grain**2)
        beside = balance.fine_rest + (1 - balance.fine_rest) * absent
        for number, part in zip(fine, torch.split(share, 1), strict=True):
            kept = part if roles[number] == "leads" else beside * part
            mixed = mixed + kept * others[number]
    if balance.favor_moving > 0:
        for number in coarse:
            favor = 1 - torch.exp(-balance.favor_moving * bright[number])
            mixed = torch.lerp(mixed, others[number], favor)
    return mixed


def _shares(odds: Tensor) -> Tensor:
    """Shares of moving sources by the logarithms of their odds against fixed, [N, 1, H, W]."""
    none = torch.zeros_like(odds[:1])  # the odds of fixed against itself
    rivals = [
        torch.cat([none, odds[:one], odds[one + 1 :]]).logsumexp(0, keepdim=True)
        for one in range(len(odds))
    ]
    return torch.sigmoid(odds - torch.cat(rivals))


def _with_findings(
    every: Tensor, estimate: Tensor, own: Sequence[Balance], spacing: Spacing
) -> Tensor:
    """Give what is white in moving its brightness, with the structure of fixed in it."""
    level = gaussian(every[1:], sigma=_LEVEL_BLUR * min(spacing), spacing=spacing)
    details, _ = split_scales(every[:1], scales=_STRUCTURE_SCALES, spacing=spacing)
    structure = torch.zeros_like(estimate)
    for detail in details:
        spread = _deviation(detail, own[0].deviation_floor, own[0].window, spacing)
        structure = structure + _STRUCTURE_GAIN / (1 + spread / _STRUCTURE_CEILING) * detail
    shares, shown = [], []
    for number, one in enumerate(own):
        rise = ((level[number] - one.finding) / (2 * one.finding_width) + 0.5).clamp(0, 1)
        share = one.finding_share * rise * rise * (3 - 2 * rise)
        shares.append(torch.where(every[1 + number] > every[0], share, 0.0))
        limit = one.finding_structure
        beside = limit * torch.tanh(structure[0] / limit)
        shown.append(one.finding_brightness * every[1 + number] + beside)
    share, strongest = torch.stack(shares).max(0, keepdim=True)
    return torch.lerp(estimate, torch.stack(shown).gather(0, strongest), share)


def _is_finite(value: object) -> bool:
    number = isinstance(value, float | int) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _words(name: str) -> str:
    return name.replace("_", " ")
