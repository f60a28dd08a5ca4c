r"""What a prior is worth by itself: denoising beside classical baselines, loss, samples.

*Denoising*: held-out images in [-1, 1] plus Gaussian noise of standard deviation sigma; the prior
estimates the clean image in one step (see `monai_ddfm.training.denoising`). PSNR is taken inside
the head, 10 log10(4 / mean squared error), and averaged over images. Every estimate is clipped to
[-1, 1]. The baselines' strengths are chosen for each sigma on every third of the very images they
are judged on, which favors them.

*Loss*: mean squared error of the predicted noise per timestep, with
:math:`\hat\epsilon = (x_t - \sqrt{\bar\alpha_t}\,\hat x_0) / \sqrt{1-\bar\alpha_t}` and
:math:`\hat x_0` not clipped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from monai.networks.schedulers import Scheduler
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.training.baselines import baselines, head_masks, psnr_inside, tuned
from monai_ddfm.training.datasets import SliceDataset, seed_for_step
from monai_ddfm.training.denoising import denoise, noise_loss, timestep_of_noise
from monai_ddfm.training.samples import draw_samples, picture_grid, write_png
from monai_ddfm.training.validation import evenly_spread
from monai_ddfm.utils.files import NOTICE, replace_file

__all__ = ["DenoisingRow", "PriorEvaluation", "PriorReport"]

_TUNING_STRIDE = 3


@dataclass(frozen=True)
class DenoisingRow:
    """Denoising at one noise level.

    Attributes:
        sigma: standard deviation of the noise.
        timestep: of the prior's training, where noise has that share.
        psnr: mean PSNR inside the head in dB, by method; "prior" is one.
        spread: standard deviation of the prior's PSNR over images.
        strengths: chosen strength by baseline.
    """

    sigma: float
    timestep: float
    psnr: Mapping[str, float]
    spread: float
    strengths: Mapping[str, float]

    @property
    def gain(self) -> float:
        """PSNR of the prior over the best baseline's, in dB."""
        return self.psnr["prior"] - max(v for name, v in self.psnr.items() if name != "prior")


@dataclass(frozen=True)
class PriorReport:
    """Outcome of an evaluation.

    Attributes:
        settings: what it was made with.
        denoising: one row per noise level.
        loss: mean squared error of the predicted noise by timestep.
    """

    settings: Mapping[str, Any]
    denoising: Sequence[DenoisingRow]
    loss: Mapping[int, float]

    def text(self) -> str:
        """Return the whole table as text."""
        names = list(self.denoising[0].psnr)
        head = f"{'sigma':>6} {'timestep':>9} " + " ".join(f"{name:>15}" for name in names)
        lines = [
            "PSNR inside the head, dB (images in [-1, 1]; baselines at their best strength)",
            head + f" {'gain':>7} {'spread':>7}",
        ]
        for row in self.denoising:
            cells = " ".join(f"{row.psnr[name]:15.2f}" for name in names)
            numbers = f"{row.sigma:6.3g} {row.timestep:9.1f} {cells}"
            lines.append(f"{numbers} {row.gain:+7.2f} {row.spread:7.2f}")
        lines += ["", "mean squared error of the predicted noise", f"{'timestep':>9} {'error':>9}"]
        lines += [f"{timestep:9d} {error:9.5f}" for timestep, error in self.loss.items()]
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return "\n".join([*lines, "", settings, NOTICE])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        rows = [{**asdict(row), "gain": row.gain} for row in self.denoising]
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "denoising": rows,
            "loss": {str(timestep): error for timestep, error in self.loss.items()},
        }


class PriorEvaluation:
    """Evaluates a prior on held-out slices and writes text, CSV, JSON and a grid of samples.

    Args:
        network: the prior; one channel.
        dataset: held-out slices; the canvas is best their own size, since enlarged pictures are
            smoother and easier.
        scheduler: MONAI scheduler of the prior's training.
        output_dir: gets ``prior_evaluation.{txt,csv,json}`` and ``samples.png``.
        sigmas: noise levels.
        timesteps: where the loss is taken.
        count: number of slices, evenly spread over the dataset; a third of them for the loss.
        samples: number of samples.
        sample_size: side of a sample in pixels.
        sample_steps: evaluations of the network per sample.
        seed: of all noise.
        prior: name of the file, for the record.
    """

    def __init__(
        self,
        network: ADMUNet,
        dataset: SliceDataset,
        scheduler: Scheduler,
        *,
        output_dir: str | Path,
        sigmas: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0),
        timesteps: Sequence[int] = (5, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 990),
        count: int = 63,
        samples: int = 16,
        sample_size: int = 128,
        sample_steps: int = 100,
        seed: int = 0,
        prior: str = "",
    ) -> None:
        if network.image_channels != 1:
            raise InputError(
                f"the prior has {network.image_channels} channels; only priors of one channel can "
                "be evaluated on grey slices"
            )
        if count < 1 or not sigmas or not all(sigma > 0 for sigma in sigmas):
            raise InputError("give a count of 1 or more and noise levels (sigmas) over 0")
        self.network = network.eval()
        self.dataset = dataset
        self.scheduler = scheduler
        self.output_dir = Path(output_dir)
        self.sigmas = tuple(map(float, sigmas))
        self.timesteps = tuple(timesteps)
        self.count = count
        self.samples = samples
        self.sample_size = sample_size
        self.sample_steps = sample_steps
        self.seed = seed
        self.prior = prior

    def run(self) -> PriorReport:
        """Evaluate, write the files and print the table.

        Raises:
            InputError: if the output folder cannot be written.
        """
        clean = evenly_spread(self.dataset, self.count)
        report = PriorReport(
            settings={
                "prior": self.prior,
                "slices": len(clean),
                "size": clean.shape[-1],
                "seed": self.seed,
            },
            denoising=[self._denoising_row(clean, number) for number in range(len(self.sigmas))],
            loss=self._loss(clean[::_TUNING_STRIDE]),
        )
        self._write(report)
        self._write_samples()
        print(report.text(), flush=True)
        return report

    def _noise_like(self, images: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_for_step(self.seed, number))
        return torch.randn(images.shape, generator=generator)

    def _denoising_row(self, clean: Tensor, number: int) -> DenoisingRow:
        sigma = self.sigmas[number]
        noisy = clean + sigma * self._noise_like(clean, number)
        device = next(self.network.parameters()).device
        alphas = self.scheduler.alphas_cumprod
        estimates = denoise(self.network, noisy.to(device), sigma=sigma, alphas_cumprod=alphas)
        truth, given = clean[:, 0].numpy(), noisy[:, 0].numpy()
        masks = head_masks(truth)
        of_prior = psnr_inside(estimates[:, 0].cpu().numpy(), truth, masks)
        psnr, strengths = {}, {}
        some = slice(None, None, _TUNING_STRIDE)
        for name, baseline in baselines().items():
            strength = tuned(baseline, given[some], truth[some], masks[some], sigma=sigma)
            scores = psnr_inside(baseline.denoise(given, sigma, strength), truth, masks)
            psnr[name], strengths[name] = float(scores.mean()), strength
        psnr["prior"] = float(of_prior.mean())
        timestep = timestep_of_noise(sigma, alphas)
        return DenoisingRow(sigma, timestep, psnr, float(of_prior.std()), strengths)

    def _loss(self, clean: Tensor) -> dict[int, float]:
        device = next(self.network.parameters()).device
        noise = self._noise_like(clean, len(self.sigmas))
        return {
            timestep: noise_loss(
                self.network,
                clean.to(device),
                noise.to(device),
                timestep=timestep,
                alpha_bar=float(self.scheduler.alphas_cumprod[timestep]),
            )
            for timestep in self.timesteps
        }

    def _write_samples(self) -> None:
        samples = draw_samples(
            self.network,
            self.scheduler.betas.tolist(),
            count=self.samples,
            size=self.sample_size,
            steps=self.sample_steps,
            seed=self.seed,
        )
        write_png(picture_grid(samples), self.output_dir / "samples.png")

    def _write(self, report: PriorReport) -> None:
        base = self.output_dir / "prior_evaluation"
        content = json.dumps(report.as_dict(), indent=2) + "\n"
        _write_text(report.text() + "\n", base.with_suffix(".txt"))
        _write_text(content, base.with_suffix(".json"))
        replace_file(base.with_suffix(".csv"), lambda part: _write_table(report, part))


def _write_table(report: PriorReport, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = list(report.denoising[0].psnr)
        chosen = [f"{name}_strength" for name in report.denoising[0].strengths]
        writer.writerow(["sigma", "timestep", *names, "gain", "spread", *chosen])
        for row in report.denoising:
            numbers = [row.timestep, *row.psnr.values(), row.gain, row.spread]
            writer.writerow(
                [row.sigma, *(round(number, 3) for number in numbers), *row.strengths.values()]
            )


def _write_text(text: str, path: Path) -> None:
    replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))
