r"""Noise that is added to the sources, to see what a method makes of it.

With a source s in gray levels, 0 to 255, and standard deviation :math:`\sigma` in the same unit:

* ``gaussian``: :math:`s + \sigma n`.
* ``rician``, the noise of magnitude MRI: :math:`\sqrt{(s + \sigma n_1)^2 + (\sigma n_2)^2}`.
* ``poisson``, counts as in PET and SPECT: :math:`g\,P(s / g)` with the gain :math:`g = \sigma^2 /
  \bar s` and :math:`\bar s` the mean of s inside the head, so that the noise there has the mean
  variance :math:`\sigma^2`.

n are independent normal numbers, P Poisson ones. The result is cut to 0 to 255, as a file would,
but not rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["Noise", "NoiseKind", "parse_noises"]

NoiseKind = Literal["gaussian", "rician", "poisson"]

_WHITE: Final = 255.0


@dataclass(frozen=True)
class Noise:
    """A kind of noise and its strength.

    Attributes:
        kind: "gaussian", "rician" or "poisson".
        sigma: standard deviation in gray levels of 255, more than 0.

    Raises:
        InputError: if the kind is unknown or the strength out of range.
    """

    kind: NoiseKind
    sigma: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoiseKind):
            known = ", ".join(get_args(NoiseKind))
            raise InputError(f"noise {self.kind!r} is unknown; use {known}.")
        if not (math.isfinite(self.sigma) and 0 < self.sigma <= _WHITE):
            raise InputError(f"noise of {self.sigma:g} gray levels is unusable; give 15, say.")

    @classmethod
    def parse(cls, text: str) -> Noise:
        """Read ``gaussian:15``; the strength is 15 if none is given.

        Raises:
            InputError: if that is no noise.
        """
        kind, _, strength = text.strip().lower().partition(":")
        try:
            sigma = float(strength) if strength else 15.0
        except ValueError:
            raise InputError(f"noise {text!r} is unusable; write gaussian:15, say.") from None
        return cls(kind, sigma)  # type: ignore[arg-type]  # checked there

    def __str__(self) -> str:
        return f"{self.kind}:{self.sigma:g}"

    def add(self, source: Tensor, *, mask: Tensor, seed: tuple[int | str, ...]) -> Tensor:
        """Add noise to one source.

        Args:
            source: [H, W] or [H, W, D] in [0, 1].
            mask: the head, boolean, same shape.
            seed: same seed, same noise.

        Returns:
            The same shape, in [0, 1].
        """
        words = [part if isinstance(part, int) else int.from_bytes(part.encode()) for part in seed]
        generator = np.random.default_rng(words)
        levels = source.double().numpy() * _WHITE

        def normal() -> np.ndarray:
            return self.sigma * generator.standard_normal(levels.shape)

        if self.kind == "gaussian":
            noisy = levels + normal()
        elif self.kind == "rician":
            noisy = np.hypot(levels + normal(), normal())
        else:
            inside = levels[mask.numpy()] if bool(mask.any()) else levels
            gain = self.sigma**2 / max(float(inside.mean()), 1e-6)
            noisy = gain * generator.poisson(levels / gain)
        return torch.from_numpy(np.clip(noisy, 0, _WHITE) / _WHITE).to(source.dtype)


def parse_noises(given: str | Noise | Iterable[str | Noise]) -> list[Noise]:
    """Read noises such as ``gaussian:15,rician:15``.

    Args:
        given: a text with commas or bars between, a noise, or several of both; empty is none.

    Raises:
        InputError: if one is no noise.
    """
    parts: list[str | Noise] = []
    for part in [given] if isinstance(given, str | Noise) else given:
        parts += [part] if isinstance(part, Noise) else part.replace("|", ",").split(",")
    return [part if isinstance(part, Noise) else Noise.parse(part) for part in parts if part]
