r"""Rectifiers: objects that correct the clean image a diffusion model predicts, at every step.

A rectifier takes the predicted :math:`x_0` and both sources and returns a better :math:`x_0`. The
sampling loop knows nothing else of it. It acts on luminance only. With one channel that is the
image itself. With three, luminance is taken out, rectified and put back, and chroma stays:

* ``full``: :math:`L = 0.299 R + 0.587 G + 0.114 B` of the image in [-1, 1], the range that the
  sources have; :math:`RGB \leftarrow RGB + (L' - L)`.
* ``limited``: what the published code does. Studio-range luminance of the image in [-1, 1] as if it
  were in [0, 1], :math:`L = \tfrac{219}{255} x + \tfrac{16}{255}` for grey x, is compared with
  full-range sources, and the inverse, which has the slope 255/219, leaves [-1, 1].

See `monai_ddfm.em` for the mathematics of the EM step (Zhao et al., arXiv 2303.06840).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, get_args

import torch
from torch import Tensor

from monai_ddfm import color
from monai_ddfm.em import EMState, Variant, check_em_parameters, em_step, moving_share
from monai_ddfm.errors import InputError
from monai_ddfm.saliency import salient_estimate

__all__ = [
    "EMRectifier",
    "IdentityRectifier",
    "Luminance",
    "Rectified",
    "Rectifier",
    "SaliencyRectifier",
    "SaliencyState",
]

Luminance = Literal["full", "limited"]
StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Rectified(Generic[StateT]):
    """Outcome of a rectifier's step.

    Attributes:
        x0: rectified image, [B, C, H, W] like the one given; not clipped.
        state: state for the next step.
        weight: share of `moving` in the luminance, [B, 1, H, W] in [0, 1].
        luminance: rectified luminance on the scale of the sources, [B, 1, H, W].
    """

    x0: Tensor
    state: StateT
    weight: Tensor
    luminance: Tensor


class Rectifier(Protocol[StateT]):
    """Corrects predicted clean images; stateless itself, so that one object serves many runs."""

    def initial_state(self, sources: Tensor) -> StateT:
        """Return the state before the first step for `sources` [B, 2, H, W]."""
        ...

    def step(
        self, x0: Tensor, sources: Tensor, state: StateT, *, index: int = 0, steps: int = 1
    ) -> Rectified[StateT]:
        """Rectify a predicted clean image.

        Args:
            x0: [B, 1, H, W] or RGB [B, 3, H, W], in [-1, 1].
            sources: [B, 2, H, W] in [-1, 1]; channel 0 is fixed, channel 1 is moving.
            state: from `initial_state` or the step before.
            index: position of this step in sampling order, from 0.
            steps: number of steps of the run.

        Raises:
            ValueError: if the shapes do not fit.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EMRectifier:
    """One EM iteration of the hierarchical Bayesian model per step.

    Attributes:
        variant: "reference" as the published code computes, "paper" as the paper prints.
        lamb: weight of the gradient penalty.
        rho: weight of its splitting.
        tv: use the gradient penalty; without it every fused luminance lies between the sources.
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if a parameter is unknown or out of range.
    """

    variant: Variant = "reference"
    lamb: float = 0.5
    rho: float = 0.001
    tv: bool = True
    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        check_em_parameters(lamb=self.lamb, rho=self.rho, variant=self.variant)
        _check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> EMState:
        """Return the state before the first step for `sources` [B, 2, H, W]."""
        batch, _, height, width = sources.shape
        dtype = sources.dtype if sources.is_floating_point() else torch.float32
        return EMState.initial(batch, height, width, device=sources.device, dtype=dtype)

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: EMState,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[EMState]:
        fixed, moving = _split(sources)
        with torch.autocast(x0.device.type, enabled=False):
            x0 = _at_least_float32(x0)
            fused, state, weight = em_step(
                _luminance_of(x0, self.luminance),
                moving,
                fixed,
                state,
                lamb=self.lamb,
                rho=self.rho,
                variant=self.variant,
                tv=self.tv,
            )
            rectified = _with_luminance(x0, fused, self.luminance)
        return Rectified(rectified, state, weight, fused)


@dataclass(frozen=True, slots=True)
class SaliencyState:
    """What does not change from step to step.

    Attributes:
        estimate: mode of the likelihood, [B, 1, H, W].
        lower: smaller of the two sources, same shape.
        upper: larger of the two sources, same shape.
    """

    estimate: Tensor
    lower: Tensor
    upper: Tensor


@dataclass(frozen=True, kw_only=True)
class SaliencyRectifier:
    r"""Draws x0 towards the source that has structure, and keeps it between the sources.

    With the likelihood's mode :math:`m` (see `monai_ddfm.saliency`) and a Gaussian prior around the
    diffusion model's :math:`x_0`, the posterior's mode is :math:`(1 - k)\,m + k\,x_0`; it is
    projected onto the box :math:`[\min(i, v), \max(i, v)]`. The share of `moving` follows as
    :math:`(f - v) / (i - v)`.

    Attributes:
        prior_share: k, 0 for the likelihood alone, 1 for the prior alone within the box.
        levels: see `salient_estimate`.
        sharpness: see `salient_estimate`.
        window: see `salient_estimate`.
        base_sharpness: see `salient_estimate`.
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if a parameter is out of range.
    """

    prior_share: float = 0.3
    levels: int = 2
    sharpness: float = 4.0
    window: int = 2
    base_sharpness: float = 20.0
    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        if not 0 <= self.prior_share <= 1:
            raise InputError(f"prior share {self.prior_share!r} must lie between 0 and 1.")
        if self.levels < 0 or self.window < 0:
            raise InputError("levels and window must not be negative.")
        _check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> SaliencyState:
        """Return the likelihood's mode and the box for `sources` [B, 2, H, W]."""
        fixed, moving = map(_at_least_float32, _split(sources))
        with torch.autocast(sources.device.type, enabled=False):
            # One by one: convolutions round otherwise for one image than for several.
            estimate = torch.cat(
                [
                    salient_estimate(
                        one_moving,
                        one_fixed,
                        levels=self.levels,
                        sharpness=self.sharpness,
                        window=self.window,
                        base_sharpness=self.base_sharpness,
                    )
                    for one_moving, one_fixed in zip(moving.split(1), fixed.split(1), strict=True)
                ]
            )
        return SaliencyState(estimate, torch.minimum(moving, fixed), torch.maximum(moving, fixed))

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: SaliencyState,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[SaliencyState]:
        fixed, moving = map(_at_least_float32, _split(sources))
        with torch.autocast(x0.device.type, enabled=False):
            x0 = _at_least_float32(x0)
            predicted = _luminance_of(x0, self.luminance)
            mixed = torch.lerp(state.estimate, predicted, self.prior_share)
            fused = mixed.clamp(state.lower, state.upper)
            weight = moving_share(fused, moving, fixed)
            rectified = _with_luminance(x0, fused, self.luminance)
        return Rectified(rectified, state, weight, fused)


@dataclass(frozen=True, kw_only=True)
class IdentityRectifier:
    """Leaves the prediction as it is: sampling from the prior alone.

    The weight is the projection of the predicted luminance onto the line between the sources.

    Attributes:
        luminance: how luminance is taken from RGB; no matter for one channel.

    Raises:
        InputError: if `luminance` is unknown.
    """

    luminance: Luminance = "full"

    def __post_init__(self) -> None:
        _check_luminance(self.luminance)

    def initial_state(self, sources: Tensor) -> None:  # noqa: ARG002
        """Return None: there is no state."""
        return

    def step(  # noqa: D102 - the protocol has it
        self,
        x0: Tensor,
        sources: Tensor,
        state: None,
        *,
        index: int = 0,  # noqa: ARG002
        steps: int = 1,  # noqa: ARG002
    ) -> Rectified[None]:
        fixed, moving = _split(sources)
        with torch.autocast(x0.device.type, enabled=False):
            luminance = _luminance_of(_at_least_float32(x0), self.luminance)
            weight = moving_share(luminance, _at_least_float32(moving), _at_least_float32(fixed))
        return Rectified(x0, state, weight, luminance)


def _luminance_of(x0: Tensor, mode: Luminance) -> Tensor:
    """Return the luminance [B, 1, H, W] of a one-channel or RGB image."""
    if x0.shape[1] == 1:
        return x0
    if mode == "full":
        return color.luminance(x0, dim=1)
    return color.rgb_to_ycbcr_limited(x0, dim=1)[:, :1]


def _with_luminance(x0: Tensor, luminance: Tensor, mode: Luminance) -> Tensor:
    """Return the image with another luminance and its own chroma."""
    if x0.shape[1] == 1:
        return luminance
    if mode == "full":
        return x0 + (luminance - color.luminance(x0, dim=1))
    chroma = color.rgb_to_ycbcr_limited(x0, dim=1)[:, 1:]
    return color.ycbcr_limited_to_rgb(torch.cat((luminance, chroma), dim=1), dim=1)


def _split(sources: Tensor) -> tuple[Tensor, Tensor]:
    """Return fixed and moving, each [B, 1, H, W]."""
    if sources.ndim != 4 or sources.shape[1] != 2:
        raise ValueError(f"sources must be [B, 2, H, W], got {tuple(sources.shape)}")
    return sources[:, :1], sources[:, 1:]


def _at_least_float32(image: Tensor) -> Tensor:
    return image.to(torch.promote_types(image.dtype, torch.float32))


def _check_luminance(mode: str) -> None:
    if mode not in get_args(Luminance):
        raise InputError(f"luminance {mode!r} is unknown; use {' or '.join(get_args(Luminance))}.")
