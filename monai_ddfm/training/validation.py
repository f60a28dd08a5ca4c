"""Held-out denoising error of a prior, per noise level, logged while it trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from monai.networks.schedulers import Scheduler
from torch import Tensor, nn

from monai_ddfm.training.datasets import SliceDataset
from monai_ddfm.training.denoising import velocity_to_x0
from monai_ddfm.training.handlers import TrainingBudget, loss_of
from monai_ddfm.training.logs import TrainingLog
from monai_ddfm.training.options import check_count

__all__ = ["HeldOutDenoising", "denoising_psnr", "evenly_spread"]


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
        parts = zip(torch.split(noisy, 4), torch.split(times, 4), strict=True)
        velocity = torch.cat([network(part, time) for part, time in parts])
        x0 = velocity_to_x0(noisy, velocity, alpha_bar).clamp(-1, 1)
        result[timestep] = float(10 * torch.log10(4 / (x0 - clean).square().mean()))
    return result


def evenly_spread(dataset: SliceDataset, count: int) -> Tensor:
    """Take slices from all over a dataset.

    Args:
        dataset: the slices.
        count: how many, at most.

    Returns:
        Images [n, 1, H, W] in [-1, 1], n <= count.
    """
    chosen = torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().long().tolist()
    return torch.stack([dataset[index]["image"] for index in chosen]).float() / 127.5 - 1


class HeldOutDenoising:
    """Logs the mean loss, the learning rate and the held-out PSNR every so many steps.

    Args:
        network: the network to judge, the averaged one as a rule.
        dataset: held-out slices; `count` of them, evenly spread, are used.
        scheduler: MONAI scheduler of the forward process.
        log: where rows go.
        budget: for minutes and learning rate.
        timesteps: noise levels.
        every: steps between rows; a last row is written at the end.
        count: number of slices.

    Raises:
        InputError: if `every` or `count` is no whole number over 0.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: SliceDataset,
        scheduler: Scheduler,
        *,
        log: TrainingLog,
        budget: TrainingBudget,
        timesteps: Sequence[int] = (20, 60, 150, 300, 500, 750),
        every: int = 500,
        count: int = 12,
    ) -> None:
        check_count("val_interval", every)
        check_count("val_slices", count)
        self.network = network
        self.scheduler = scheduler
        self.log = log
        self.budget = budget
        self.timesteps = tuple(timesteps)
        self.every = every
        self.clean = evenly_spread(dataset, count)
        self._losses: list[Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)
        engine.add_event_handler(Events.COMPLETED, self)

    def _collect(self, engine: Engine) -> None:
        self._losses.append(loss_of(engine))

    def __call__(self, engine: Engine) -> None:
        """Write a row, unless no step was taken since the last."""
        if not self._losses:
            return
        device = next(self.network.parameters()).device
        psnr = denoising_psnr(
            self.network, self.clean.to(device), self.scheduler, timesteps=self.timesteps
        )
        values = {
            "loss": round(float(torch.stack(self._losses).mean()), 5),
            **{f"psnr_t{timestep}": round(value, 2) for timestep, value in psnr.items()},
            "minutes": round(self.budget.seconds / 60, 2),
            "learning_rate": float(f"{self.budget.learning_rate:.3e}"),
        }
        self._losses = []
        self.log.write(engine.state.iteration, values)
