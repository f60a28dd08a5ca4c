"""How a fusion is sampled: in which runs, with which rectifiers, and what becomes of the outcomes.

Whoever samples asks a likelihood for its plan, and needs to know no likelihood by name. Any
rectifier has a plan: one run, on the fused image itself. A likelihood with another plan, as that
of the default preset, says so by being a `Likelihood`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from monai_ddfm.likelihoods.noise_model import NoiseModel, noisier
from monai_ddfm.likelihoods.rectifiers.protocol import Rectified, Rectifier, SourceRectifier
from monai_ddfm.likelihoods.scale_space import Spacing

__all__ = ["Background", "Likelihood", "Means", "Plan", "Run", "likelihood_of"]


@dataclass(frozen=True, kw_only=True)
class Means:
    """Means of pixels that the prior may be shown of a source that has no finer details.

    Attributes:
        sides: how many pixels along a side a mean may be of.
        tolerated: squared error that they may add, on the scale from -1 to 1.
    """

    sides: tuple[int, ...]
    tolerated: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the sampling loop.

    Attributes:
        rectifier: corrects the clean image; None does not sample, and leaves the source as it is.
        source: 0 to sample the clean image of fixed, 1 and on of moving; None samples the fused
            image.
        noise_model: of the noise of the rectifier's mode, from which sampling may start; None if it
            has no mode, or the noise was not measured.
        share: of the prior's estimate in the outcome; None if it is not known.
        coarse: the prior is shown the means of so many by so many pixels.
        means: of which they may be, where the source has no finer details; None is of none.
    """

    rectifier: Rectifier[Any] | None
    source: int | None = None
    noise_model: NoiseModel | None = None
    share: float | None = None
    coarse: int = 1
    means: Means | None = None

    def sources(self, sources: Tensor) -> Tensor:
        """Return what the rectifier is shown of the sources [B, C, ...]: all, or one twice."""
        if self.source is None:
            return sources
        one = sources[:, self.source : self.source + 1]
        return one.expand(-1, 2, *[-1] * (sources.ndim - 2))


@dataclass(frozen=True, kw_only=True)
class Background:
    """What is known of places where all clean images are black, without asking the prior.

    Attributes:
        noise_at_black: of each source the mean, above black, and the deviation of its noisy values
            there, on the scale from -1 to 1.
        fuse: fuses sources [B, C, H, W] there, to [B, H, W].
    """

    noise_at_black: tuple[tuple[float, float], ...]
    fuse: Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a fusion.

    Attributes:
        runs: in their order.
        fuse: makes the fusion of the sources [B, C, H, W] and of the runs' luminances, each
            [B, 1, H, W]; None where the only run is that of the fused image.
        background: where noisy sources need no sampling; None if that is not known.
        margin: how far at most their noise lets values leave the range between the sources, on the
            scale from -1 to 1.
    """

    runs: tuple[Run, ...]
    fuse: Callable[[Tensor, Sequence[Tensor]], Rectified[Any]] | None = None
    background: Background | None = None
    margin: float = 0.0

    @property
    def shares(self) -> tuple[float, ...] | None:
        """Share of the prior in the clean image of each source; None in a run on the fused one."""
        shares = tuple(run.share for run in self.runs if run.share is not None)
        return shares if len(shares) == len(self.runs) else None


@runtime_checkable
class Likelihood(Protocol):
    """What sampling asks of a likelihood."""

    @property
    def measures_noise(self) -> bool:
        """Whether the noise of the sources is needed, wherever sampling starts."""
        ...

    @property
    def starts_from_sources(self) -> bool:
        """Whether sampling can start from the sources."""
        ...

    def on_grid(self, spacing: Spacing) -> Self:
        """Return the likelihood for pixels of a size in mm."""
        ...

    def takes(self, moving: int) -> bool:
        """Return whether it fuses so many moving sources."""
        ...

    def plan(self, noises: tuple[NoiseModel, ...] | None, *, always: bool = False) -> Plan:
        """Plan a fusion.

        Args:
            noises: of fixed and of each moving source; None if they were not measured.
            always: run the prior where it has nothing to do, too, because seeds are to matter.
        """
        ...


@dataclass(frozen=True)
class _OnFusedImage:
    """The likelihood of a rectifier: it is shown both sources in one run, on the fused image."""

    rectifier: Rectifier[Any]

    measures_noise = False

    @property
    def starts_from_sources(self) -> bool:
        return isinstance(self.rectifier, SourceRectifier)

    def on_grid(self, spacing: Spacing) -> Self:  # noqa: ARG002 - pixels are its unit
        return self

    def takes(self, moving: int) -> bool:
        return moving == 1

    def plan(self, noises: tuple[NoiseModel, ...] | None, *, always: bool = False) -> Plan:  # noqa: ARG002
        rectifier = self.rectifier
        if noises is None or not isinstance(rectifier, SourceRectifier):
            return Plan(runs=(Run(rectifier=rectifier),))
        noise_model = noisier(noises)
        return Plan(
            runs=(Run(rectifier=rectifier.for_noise(noise_model), noise_model=noise_model),)
        )


def likelihood_of(rectifier: Rectifier[Any] | Likelihood) -> Likelihood:
    """Return a rectifier as the likelihood that sampling asks."""
    return rectifier if isinstance(rectifier, Likelihood) else _OnFusedImage(rectifier)
