"""Held-out denoising error of a prior, per noise level, logged while it trains."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from monai.handlers import from_engine
from monai.networks.schedulers import Scheduler
from torch import Tensor, nn

from monai_ddfm.training.datasets import SliceDataset
from monai_ddfm.training.denoising import velocity_to_x0

__all__ = ["HeldOutDenoising", "denoising_psnr"]

_log = logging.getLogger(__name__)


@torch.no_grad()
def denoising_psnr(
    network: nn.Module,
    clean: Tensor,
    scheduler: Scheduler,
    *,
    timesteps: Sequence[int],
    seed: int = 0,
) -> dict[int, float]:
    """Peak signal-to-noise ratio of one-step denoising at each timestep.

    Args:
        network: velocity predictor.
        clean: images [N, 1, H, W] in [-1, 1].
        scheduler: MONAI scheduler of the forward process.
        timesteps: noise levels to try.
        seed: of the noise.

    Returns:
        PSNR in dB (peak-to-peak 2, mean over the batch's squared error) by timestep.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    result = {}
    for timestep in timesteps:
        times = torch.full((clean.shape[0],), timestep, device=clean.device)
        noisy = scheduler.add_noise(clean, noise, times)
        alpha_bar = scheduler.alphas_cumprod[timestep].to(clean)
        x0 = velocity_to_x0(noisy, network(noisy, times), alpha_bar).clamp(-1, 1)
        result[timestep] = float(10 * torch.log10(4 / (x0 - clean).square().mean()))
    return result


class HeldOutDenoising:
    """Appends the loss and the held-out PSNR to a CSV file every so many steps.

    Args:
        network: the network to judge, the averaged one as a rule.
        dataset: held-out slices; `count` of them, evenly spread, are used.
        scheduler: MONAI scheduler of the forward process.
        csv_path: table to append to.
        timesteps: noise levels.
        every: steps between rows.
        count: number of slices.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: SliceDataset,
        scheduler: Scheduler,
        *,
        csv_path: str | Path,
        timesteps: Sequence[int] = (20, 60, 150, 300, 500, 750),
        every: int = 500,
        count: int = 12,
    ) -> None:
        self.network = network
        self.scheduler = scheduler
        self.csv_path = Path(csv_path)
        self.timesteps = tuple(timesteps)
        self.every = every
        chosen = range(0, len(dataset), max(1, len(dataset) // count))
        images = torch.stack([dataset[index]["image"] for index in chosen])[:count]
        self.clean = images.float() / 127.5 - 1
        self._loss = 0.0
        self._steps = 0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Average the loss, and write a row when it is time."""
        self._loss += float(from_engine("loss", first=True)(engine.state.output))
        self._steps += 1
        if self._steps < self.every:
            return
        device = next(self.network.parameters()).device
        psnr = denoising_psnr(
            self.network, self.clean.to(device), self.scheduler, timesteps=self.timesteps
        )
        row = {
            "iteration": engine.state.iteration,
            "loss": round(self._loss / self._steps, 5),
            **{f"psnr_t{timestep}": round(value, 2) for timestep, value in psnr.items()},
        }
        self._loss, self._steps = 0.0, 0
        _log.info("%s", row)
        new = not self.csv_path.is_file()
        self.csv_path.parent.mkdir(parents=True, exist_ok=True)
        with self.csv_path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
