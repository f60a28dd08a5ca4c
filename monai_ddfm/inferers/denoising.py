"""The prior's network as a denoiser: noisy image and step to clean image.

A network may say of itself, as attributes, what it is:

* ``prediction_type``: "epsilon" (if it says nothing), "v_prediction" or "sample";
* ``image_channels``: 1 (if it says nothing) or 3; ``learns_variance``: false, or true where its
  output has twice the channels;
* ``size_divisor``: the sides of an image must be multiples of it, 1 if it says nothing;
* ``spatial_dims``: 3 for a prior of volumes, see `spatial_dims`;
* ``encode`` and ``decode``: methods of a latent prior, from images [B, C, ...] in [-1, 1] to what
  the network works on and back. To start from the sources they must keep the deviation of white
  noise, as orthonormal transforms do; any others can start from noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_ddfm.likelihoods.guidance import Denoised
from monai_ddfm.networks.schedulers import Solver

__all__ = ["NetworkDenoiser", "is_latent", "spatial_dims"]


def is_latent(network: nn.Module) -> bool:
    """Whether a prior works on something else than images."""
    return hasattr(network, "encode") and hasattr(network, "decode")


def spatial_dims(network: nn.Module) -> int:
    """Return 2 for a prior of slices, 3 for one of volumes: as it says, or its convolutions do."""
    said = getattr(network, "spatial_dims", None)
    if said is None:
        return 3 if any(isinstance(part, nn.Conv3d) for part in network.modules()) else 2
    return int(said)


@dataclass(frozen=True, kw_only=True)
class NetworkDenoiser:
    """Calls a network.

    Attributes:
        network: the prior, called as ``network(x_t, timesteps)``.
        solver: knows timesteps and what a prediction means.
        start_index: first step of the run.
        mirror: show every second step's image to the network as its mirror image, so that what it
            gets wrong in one orientation does not add up. It has to know both from its training.
        autocast_dtype: type of the network's arithmetic; None is full precision. Everything else
            is float32.
    """

    network: nn.Module
    solver: Solver
    start_index: int = 0
    mirror: bool = False
    autocast_dtype: torch.dtype | None = None

    def __call__(self, x_t: Tensor, index: int) -> Denoised:
        """Estimate the clean image, [-1, 1] where it is one."""
        output = self.predict(x_t, index)
        clip = not is_latent(self.network)
        return Denoised(self.solver.predict_x0(output, index, x_t, clip=clip), output)

    def predict(self, x_t: Tensor, index: int) -> Tensor:
        """Return the network's output for noisy images [B, C, ...] at a step, float32."""
        # One timestep for the whole batch: its embedding broadcasts, and is the same to the last
        # bit for every size of batch.
        timestep = torch.full((1,), self.solver.timestep(index), device=x_t.device)
        odd = (index - self.start_index) % 2 == 1
        turned = self.mirror and odd and not is_latent(self.network)
        seen = x_t.flip(3) if turned else x_t
        enabled = self.autocast_dtype is not None
        with torch.autocast(x_t.device.type, dtype=self.autocast_dtype, enabled=enabled):
            output = _one_by_one(lambda part: self.network(part, timestep).float(), seen)
        return output.flip(3) if turned else output

    def encode(self, image: Tensor) -> Tensor:
        """Return what the network works on."""
        if not is_latent(self.network):
            return image
        return _one_by_one(self.network.encode, image)  # type: ignore[arg-type]

    def decode(self, x0: Tensor) -> Tensor:
        """Return the image, in [-1, 1]."""
        if not is_latent(self.network):
            return x0
        return _one_by_one(self.network.decode, x0).clamp(-1, 1)  # type: ignore[arg-type]


def _one_by_one(work: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Convolutions on a CPU round otherwise for one image than for several, so they get one."""
    parts = batch.chunk(len(batch)) if batch.device.type == "cpu" else (batch,)
    return torch.cat([work(part) for part in parts])
