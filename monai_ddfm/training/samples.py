"""Pictures that a prior draws when nothing guides it: what it has learned, to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.schedulers import (
    DDIMSolver,
    NoiseSchedule,
    PredictionType,
    space_timesteps,
)
from monai_ddfm.training.logs import TrainingLog
from monai_ddfm.training.options import check_count
from monai_ddfm.utils.files import replace_file

__all__ = ["SampleGrid", "draw_samples", "picture_grid", "write_png"]


@torch.no_grad()
def draw_samples(
    network: ADMUNet,
    betas: Sequence[float],
    *,
    count: int = 16,
    size: int = 128,
    steps: int = 100,
    seed: int = 0,
) -> Tensor:
    """Draw unconditional samples, with fresh noise in every step (DDIM with eta = 1).

    A network that has not learned everything errs at every step. Fresh noise lets later steps mend
    that; a deterministic solver carries it along, and makes pictures that the network does not
    hold for likely.

    Args:
        network: the prior.
        betas: noise schedule that it was trained with.
        count: number of samples.
        size: side in pixels, a multiple of the network's ``size_divisor``.
        steps: evaluations of the network per sample.
        seed: of all noise.

    Returns:
        Samples [count, C, size, size] in [-1, 1], on the network's device.

    Raises:
        InputError: if so many steps cannot be placed on the schedule.
    """
    schedule = NoiseSchedule(tuple(betas), space_timesteps(len(betas), steps)[::-1])
    solver = DDIMSolver(schedule, cast(PredictionType, network.prediction_type), eta=1.0)
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    shape = (count, network.image_channels, size, size)
    samples = torch.randn(shape, generator=generator).to(device)
    for index in range(len(schedule)):
        timestep = torch.full((1,), solver.timestep(index), device=device)
        output = torch.cat([network(part, timestep) for part in torch.split(samples, 8)])
        x0 = solver.predict_x0(output, index, samples)
        noise = torch.randn(shape, generator=generator).to(device)
        samples, _ = solver.step(x0, index, samples, noise=noise, model_output=output)
    return samples.clamp(-1, 1)


def picture_grid(images: Tensor, *, columns: int | None = None, gap: int = 2) -> NDArray[np.uint8]:
    """Lay images out in rows.

    Args:
        images: [N, C, H, W] in [-1, 1]; the channels are averaged.
        columns: images per row; None is as square as can be.
        gap: pixels of grey between them.

    Returns:
        One picture, [h, w] 8-bit.
    """
    grey = ((images.mean(dim=1).clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    columns = columns or math.ceil(math.sqrt(len(grey)))
    rows = math.ceil(len(grey) / columns)
    height, width = grey.shape[1] + gap, grey.shape[2] + gap
    grid = np.full((rows * height - gap, columns * width - gap), 128, dtype=np.uint8)
    for number, image in enumerate(grey):
        top, left = number // columns * height, number % columns * width
        grid[top : top + image.shape[0], left : left + image.shape[1]] = image
    return grid


def write_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a grey picture [h, w].

    Raises:
        InputError: if the file cannot be written.
    """
    replace_file(path, lambda part: Image.fromarray(picture).save(part, format="PNG"))


class SampleGrid:
    """Saves a grid of unconditional samples as PNG every so many steps and at the end.

    The same noise is used every time, so that the pictures of a run can be compared.

    Args:
        network: the averaged network, as a rule.
        betas: noise schedule of the training.
        folder: for ``samples_00001000.png`` and so on.
        log: shows them in TensorBoard too; None does not.
        every: steps between grids; 0 is none at all.
        count: number of samples.
        size: side of a sample in pixels.
        steps: evaluations of the network per sample.

    Raises:
        InputError: if `every` is no whole number, or `count` none over 0.
    """

    def __init__(
        self,
        network: ADMUNet,
        betas: Sequence[float],
        *,
        folder: str | Path,
        log: TrainingLog | None = None,
        every: int = 2000,
        count: int = 16,
        size: int = 128,
        steps: int = 50,
    ) -> None:
        check_count("sample_interval", every, least=0)
        check_count("sample_count", count)
        self.network = network
        self.betas = [float(beta) for beta in betas]
        self.folder = Path(folder)
        self.log = log
        self.every = every
        self.count = count
        self.size = size
        self.steps = steps
        self._last = -1

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        if self.every > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self)
            engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw and save one grid, unless this step has one."""
        iteration = engine.state.iteration
        if iteration == self._last:
            return
        self._last = iteration
        samples = draw_samples(
            self.network, self.betas, count=self.count, size=self.size, steps=self.steps
        )
        grid = picture_grid(samples)
        write_png(grid, self.folder / f"samples_{iteration:08d}.png")
        if self.log is not None:
            self.log.write_picture(iteration, "samples", grid)
