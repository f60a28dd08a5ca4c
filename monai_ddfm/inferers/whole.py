"""Runs the sampler on a whole volume at once, for priors of volumes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.inferers.acceleration import Acceleration
from monai_ddfm.inferers.layout import pad_to_frame
from monai_ddfm.inferers.noise import SamplingNoise
from monai_ddfm.inferers.progress import ProgressCallback, SamplingProgress
from monai_ddfm.inferers.running import is_out_of_memory
from monai_ddfm.inferers.sampling import FusionSampler, SamplingStep

__all__ = ["WholeRunner"]


@dataclass(frozen=True, kw_only=True)
class WholeRunner:
    """Samples a volume with a prior of volumes.

    Attributes:
        sampler: of the runs, as for slices.
        network: the prior.
        acceleration: how it is called.
        sampling_noise: drawn for the volume as a whole.
        axis: of the volume, along which the slices follow each other.
        progress: called after every step.
    """

    sampler: FusionSampler
    network: nn.Module
    acceleration: Acceleration
    sampling_noise: SamplingNoise
    axis: int
    progress: ProgressCallback | None = None

    def __call__(self, slices: Tensor) -> Tensor:
        """Fuse the slices [N, C, H, W] of a volume.

        Returns:
            Luminance and weights, [N, C, H, W] in float32.

        Raises:
            InputError: if memory runs out.
        """
        volume = slices.movedim(0, 1 + self.axis)[None]
        divisor = getattr(self.network, "size_divisor", 1)
        framed = pad_to_frame(volume, [side + -side % divisor for side in volume.shape[2:]])
        try:
            with self.acceleration.prepared(self.network, volume.device) as called:
                outcome = self.sampler(
                    framed, called, noise=self.sampling_noise, slices=[0], on_step=self._tell
                )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                "not enough memory for a whole volume; use a smaller one, a prior of slices, or "
                "another device."
            ) from error
        height, width, depth = volume.shape[2:]
        fused = torch.cat([outcome.luminance, outcome.weight], dim=1)[0].float()
        return fused[:, :height, :width, :depth].movedim(1 + self.axis, 0)

    def _tell(self, step: SamplingStep) -> None:
        if self.progress is not None:
            self.progress(SamplingProgress(0, 1, 1, step.index + 1, self.sampler.steps))
