"""Gaussian noise that depends on nothing but the seed, the step and the slice.

Every draw has its own generator, seeded from (seed, step, slice). So neither the size of a batch
nor the order of the slices nor a resumed run changes a value, and since generators live on the
host, neither does the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.utils.uploads import upload

__all__ = ["FramedNoise", "NoiseMode", "NoiseSource", "SamplingNoise"]

NoiseMode = Literal["shared", "independent"]
_START = 0


class SamplingNoise(Protocol):
    """What draws noise for slices."""

    def start(self, slices: Sequence[int], shape: Sequence[int], device: torch.device) -> Tensor:
        """Return the start noise [len(slices), *shape], float32."""
        ...

    def at_step(
        self, index: int, slices: Sequence[int], shape: Sequence[int], device: torch.device
    ) -> Tensor:
        """Return the noise that the step at `index` adds, [len(slices), *shape], float32."""
        ...


@dataclass(frozen=True, kw_only=True)
class NoiseSource:
    """Draws noise for slices.

    Attributes:
        seed: of the whole run, not negative.
        mode: "shared" gives every slice the same noise, which keeps neighbouring slices alike;
            "independent" gives each its own.

    Raises:
        InputError: if the seed is negative or no whole number, or the mode unknown.
    """

    seed: int = 0
    mode: NoiseMode = "shared"

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed {self.seed!r} is unusable; give a whole number, 0 or more.")
        if self.mode not in get_args(NoiseMode):
            raise InputError(f"noise {self.mode!r} is unknown; use 'shared' or 'independent'.")

    def start(self, slices: Sequence[int], shape: Sequence[int], device: torch.device) -> Tensor:
        """Return the start noise [len(slices), *shape], float32."""
        return self._draw(_START, slices, shape, device)

    def at_step(
        self, index: int, slices: Sequence[int], shape: Sequence[int], device: torch.device
    ) -> Tensor:
        """Return the noise that the step at `index` adds, [len(slices), *shape], float32."""
        return self._draw(1 + index, slices, shape, device)

    def _draw(
        self, purpose: int, slices: Sequence[int], shape: Sequence[int], device: torch.device
    ) -> Tensor:
        if self.mode == "shared":
            one = self._generate((self.seed, purpose), shape)
            return upload(one, device).expand(len(slices), *shape).contiguous()
        several = [self._generate((self.seed, purpose, number + 1), shape) for number in slices]
        return upload(torch.stack(several), device)

    @staticmethod
    def _generate(entropy: tuple[int, ...], shape: Sequence[int]) -> Tensor:
        state = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.randn(*shape, generator=torch.Generator().manual_seed(state))


@dataclass(frozen=True, kw_only=True)
class FramedNoise:
    """Noise of whole slices, of which each patch gets its part.

    So a place has the same noise in neighboring slices even where their patches differ.

    Attributes:
        source: draws the noise.
        frame: height and width of a whole slice.
        corners: row and column of each patch's first pixel, by number of the slice.
    """

    source: SamplingNoise
    frame: tuple[int, int]
    corners: Mapping[int, tuple[int, int]]

    def start(self, slices: Sequence[int], shape: Sequence[int], device: torch.device) -> Tensor:
        """Return the start noise [len(slices), *shape], float32."""
        whole = (*shape[:-2], *self.frame)
        return self._cut(self.source.start(slices, whole, device), slices, shape)

    def at_step(
        self, index: int, slices: Sequence[int], shape: Sequence[int], device: torch.device
    ) -> Tensor:
        """Return the noise that the step at `index` adds, [len(slices), *shape], float32."""
        whole = (*shape[:-2], *self.frame)
        return self._cut(self.source.at_step(index, slices, whole, device), slices, shape)

    def _cut(self, noise: Tensor, slices: Sequence[int], shape: Sequence[int]) -> Tensor:
        height, width = shape[-2:]
        corners = [self.corners[number] for number in slices]
        parts = [
            image[..., top : top + height, left : left + width]
            for image, (top, left) in zip(noise, corners, strict=True)
        ]
        return torch.stack(parts)
