r"""Guidance: a denoiser whose clean image agrees with the sources, and is a denoiser again.

A denoiser takes the noisy image :math:`x_t` and tells the clean one, :math:`\hat x_0 = D(x_t, t)`.
Guided by a likelihood it tells :math:`\tilde x_0 = E(R(E^{-1}(\hat x_0)))`, where R is the
rectifier and E leads from images to what the prior works on: nothing for a prior of images, the
encoder of a latent one. The sampler steps by way of :math:`\tilde x_0` and knows neither R nor E.

Rectifiers work on slices. A prior of volumes tells a volume; each of its slices is rectified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from monai_ddfm.likelihoods.rectifiers.protocol import Rectified, Rectifier, SourceRectifier
from monai_ddfm.utils.slabs import slabs

__all__ = ["Denoised", "Denoiser", "Guided", "GuidedDenoiser", "as_slices", "rectified_images"]


@dataclass(frozen=True, slots=True)
class Denoised:
    """What a denoiser tells.

    Attributes:
        x0: the clean image, [B, C, ...] like the noisy one.
        output: what it was made from, where a solver reads a variance from it.
    """

    x0: Tensor
    output: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Guided(Denoised):
    """What a guided denoiser tells.

    Attributes:
        rectified: outcome of the rectifier, in the shape of the sources.
    """

    rectified: Rectified[Any] = field(kw_only=True)


class Denoiser(Protocol):
    """A prior at its simplest: noisy image and time to clean image."""

    def __call__(self, x_t: Tensor, index: int) -> Denoised:
        """Tell the clean image behind a noisy one.

        Args:
            x_t: [B, C, ...].
            index: position of the step in sampling order, which says how noisy it is.
        """
        ...

    def encode(self, image: Tensor) -> Tensor:
        """Return what the prior works on for images [B, C, H, W] or [B, C, H, W, D]."""
        ...

    def decode(self, x0: Tensor) -> Tensor:
        """Return images in [-1, 1]."""
        ...


@dataclass
class GuidedDenoiser:
    """A denoiser with a rectifier, for one run: it keeps the rectifier's state.

    Attributes:
        denoiser: the prior.
        rectifier: corrects what it tells.
        sources: [B, C, H, W] or [B, C, H, W, D] in [-1, 1]; channel 0 fixed, the others moving.
        steps: of the whole process, for the rectifier.
        axis: spatial axis of a volume along which slices follow each other.
    """

    denoiser: Denoiser
    rectifier: Rectifier[Any]
    sources: Tensor
    steps: int
    axis: int = 2

    def __post_init__(self) -> None:
        slices = as_slices(self.sources, self.axis)
        # Of volumes a few slices at a time, so that what is computed on the way stays small.
        whole = [slice(0, len(slices))]
        self._slabs = whole if self.sources.ndim == 4 else list(slabs(slices.shape))
        self._slices = [slices[slab] for slab in self._slabs]
        self._states = [self.rectifier.initial_state(part) for part in self._slices]

    @property
    def mode(self) -> Tensor | None:
        """The likelihood's mode, [B, 1, ...] in [-1, 1]; None if it has none."""
        if not isinstance(self.rectifier, SourceRectifier):
            return None
        mode = torch.cat([self.rectifier.mode(state) for state in self._states])
        return as_images(mode, self.sources, self.axis)

    def __call__(self, x_t: Tensor, index: int) -> Guided:
        """Tell the clean image that agrees with the sources; see `Denoiser`."""
        told = self.denoiser(x_t, index)
        image = as_slices(self.denoiser.decode(told.x0), self.axis)
        parts = []
        for number, slab in enumerate(self._slabs):
            state = self._states[number]
            part = self.rectifier.step(
                image[slab], self._slices[number], state, index=index, steps=self.steps
            )
            self._states[number] = part.state
            parts.append(part)
        rectified = rectified_images(_joined(parts), self.sources, self.axis)
        return Guided(self.denoiser.encode(rectified.x0), told.output, rectified=rectified)


def _joined(parts: list[Rectified[Any]]) -> Rectified[Any]:
    """Put the slabs of a volume together; their states are with the denoiser."""
    if len(parts) == 1:
        return parts[0]
    return Rectified(
        torch.cat([part.x0 for part in parts]),
        None,
        torch.cat([part.weight for part in parts]),
        torch.cat([part.luminance for part in parts]),
    )


def as_slices(images: Tensor, axis: int) -> Tensor:
    """Put the slices of volumes [B, C, H, W, D] one by one, [B * N, C, ...]; slices stay."""
    return images if images.ndim == 4 else images.movedim(2 + axis, 1).flatten(0, 1)


def as_images(slices: Tensor, sources: Tensor, axis: int) -> Tensor:
    """Put slices together again, in the shape of the sources."""
    if sources.ndim == 4:
        return slices
    return slices.reshape(len(sources), -1, *slices.shape[1:]).movedim(1, 2 + axis)


def rectified_images(rectified: Rectified[Any], sources: Tensor, axis: int) -> Rectified[Any]:
    """Put together what was rectified slice by slice; the state stays as it is."""
    return Rectified(
        as_images(rectified.x0, sources, axis),
        rectified.state,
        as_images(rectified.weight, sources, axis),
        as_images(rectified.luminance, sources, axis),
    )
