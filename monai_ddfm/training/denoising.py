r"""One training step of the prior: noise a picture and predict its velocity.

With :math:`x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon` the network predicts

.. math::

    v_t = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0

(Salimans and Ho 2022, arXiv 2202.00512), from which
:math:`x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v_t`. Unlike noise prediction, the
estimate of :math:`x_0` stays bounded at large t, where few-step sampling begins.

A trained prior denoises: an image :math:`y = x_0 + \sigma\epsilon` is :math:`x_t` scaled by
:math:`1 / \sqrt{\bar\alpha_t}` at the timestep where
:math:`\sqrt{1-\bar\alpha_t} / \sqrt{\bar\alpha_t} = \sigma`, so one call of the network at
:math:`\sqrt{\bar\alpha_t}\,y` estimates :math:`x_0`.

The forward process is MONAI's scheduler; only sampling needs this package's own solvers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.engines import VPredictionPrepareBatch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import Scheduler
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.training.augmentation import SliceAugmenter
from monai_ddfm.training.options import check_share

__all__ = [
    "AugmentedVelocityBatch",
    "DenoisingInferer",
    "denoise",
    "noise_loss",
    "timestep_of_noise",
    "velocity_to_x0",
]

_LOG_SIGMA_MEAN = -1.2
_LOG_SIGMA_DEVIATION = 1.2


class AugmentedVelocityBatch(VPredictionPrepareBatch):  # type: ignore[misc]
    """Prepares a batch of `SliceDataset`: augmented pictures, noise, timesteps and velocity.

    Three of four uniformly drawn timesteps have more noise than signal, and there the error of a
    velocity is mostly what nobody can predict. So a share of the timesteps can be drawn where
    denoising has something to learn: log sigma normal with mean -1.2 and deviation 1.2, sigma
    being the noise in an image of full signal (Karras et al. 2022, arXiv 2206.00364, table 1).

    Args:
        scheduler: MONAI scheduler of the forward process, with ``prediction_type="v_prediction"``.
        augmenter: makes training pictures of slices.
        focus: share of the timesteps drawn so; 0 draws all uniformly.

    Raises:
        InputError: if `focus` is not a number from 0 to 1.
    """

    def __init__(
        self, scheduler: Scheduler, augmenter: SliceAugmenter, *, focus: float = 0.0
    ) -> None:
        check_share("timestep_focus", focus)
        super().__init__(scheduler=scheduler, num_train_timesteps=scheduler.num_train_timesteps)
        self.augmenter = augmenter
        self.focus = focus
        power = scheduler.alphas_cumprod.double()
        self._log_sigmas = 0.5 * ((1 - power) / power).log()

    def get_timesteps(self, images: Tensor) -> Tensor:
        """Draw one timestep per image, [N]."""
        uniform: Tensor = super().get_timesteps(images)
        if self.focus == 0:
            return uniform
        count = len(images)
        wanted = _LOG_SIGMA_MEAN + _LOG_SIGMA_DEVIATION * torch.randn(count, dtype=torch.float64)
        focused = torch.searchsorted(self._log_sigmas, wanted).clamp(max=len(self._log_sigmas) - 1)
        chosen = torch.rand(count) < self.focus
        return torch.where(chosen.to(uniform.device), focused.to(uniform), uniform)

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
        """Return pictures [n, 1, S, S] in [-1, 1], their velocity, and the inferer's arguments."""
        slices, plain, pixel_mm, detail_mm = (
            batchdata[key].to(device, non_blocking=non_blocking).float()
            for key in ("image", "plain", "pixel_mm", "detail_mm")
        )
        pictures = self.augmenter(slices / 255, pixel_mm, detail_mm, plain=plain / 255)
        return super().__call__({"image": pictures}, device, non_blocking, **kwargs)  # type: ignore[no-any-return]


class DenoisingInferer(DiffusionInferer):  # type: ignore[misc]
    """MONAI's diffusion inferer with mixed precision on any device.

    Args:
        scheduler: MONAI scheduler of the forward process.
        autocast_dtype: ``"bfloat16"`` for the network's arithmetic, ``"float32"`` or None for full
            precision. MONAI's trainer offers mixed precision on CUDA only.

    Raises:
        InputError: if the type is another one; float16 gradients would vanish without scaling.
    """

    def __init__(self, scheduler: Scheduler, *, autocast_dtype: str | None = None) -> None:
        super().__init__(scheduler)
        if autocast_dtype not in {None, "float32", "bfloat16"}:
            raise InputError(f"amp_dtype {autocast_dtype!r} is unusable; use bfloat16 or float32")
        self.autocast_dtype = torch.bfloat16 if autocast_dtype == "bfloat16" else None

    def __call__(
        self,
        inputs: Tensor,
        diffusion_model: nn.Module,
        noise: Tensor,
        timesteps: Tensor,
        **kwargs: Any,
    ) -> Tensor:
        """Predict the velocity of the noised `inputs`; see MONAI's `DiffusionInferer`."""
        enabled = self.autocast_dtype is not None
        with torch.autocast(inputs.device.type, dtype=self.autocast_dtype, enabled=enabled):
            predicted = super().__call__(inputs, diffusion_model, noise, timesteps, **kwargs)
        prediction: Tensor = predicted.float()
        return prediction


def velocity_to_x0(noisy: Tensor, velocity: Tensor, alpha_bar: Tensor) -> Tensor:
    """Clean image of a noisy image and its velocity (Salimans and Ho 2022, appendix D).

    Args:
        noisy: x_t [N, C, H, W].
        velocity: predicted velocity, same shape.
        alpha_bar: cumulative product of alphas at the images' timesteps, broadcastable.

    Returns:
        Estimate of x_0, same shape, not clipped.
    """
    return alpha_bar.sqrt() * noisy - (1 - alpha_bar).sqrt() * velocity


def timestep_of_noise(sigma: float, alphas_cumprod: Tensor) -> float:
    """Timestep at which noise has `sigma` times the scale of the signal, between two as a rule.

    Args:
        sigma: standard deviation of the noise in an image of full signal, over 0.
        alphas_cumprod: cumulative product of alphas, [T].

    Returns:
        Fractional timestep, linear in log sigma between its neighbours; 0 or T - 1 beyond the ends.
    """
    power = alphas_cumprod.double().cpu().numpy()
    ratios = 0.5 * np.log((1 - power) / power)
    return float(np.interp(math.log(sigma), ratios, np.arange(len(ratios))))


@torch.no_grad()
def denoise(
    network: ADMUNet, noisy: Tensor, *, sigma: float, alphas_cumprod: Tensor, batch_size: int = 8
) -> Tensor:
    """Denoise images in one step.

    Args:
        network: the prior.
        noisy: clean images plus noise of standard deviation `sigma`, [N, C, H, W]; the clean ones
            in [-1, 1], H and W multiples of the network's ``size_divisor``.
        sigma: standard deviation of the noise.
        alphas_cumprod: cumulative product of alphas of the prior's training, [T].
        batch_size: images at a time.

    Returns:
        Estimates of the clean images, clipped to [-1, 1], same shape.
    """
    power = 1 / (1 + sigma**2)
    timestep = timestep_of_noise(sigma, alphas_cumprod)
    estimates = [
        _predict_x0(network, x_t, timestep=timestep, alpha_bar=power).clamp(-1, 1)
        for x_t in torch.split(math.sqrt(power) * noisy, batch_size)
    ]
    return torch.cat(estimates)


@torch.no_grad()
def noise_loss(
    network: ADMUNet,
    clean: Tensor,
    noise: Tensor,
    *,
    timestep: int,
    alpha_bar: float,
    batch_size: int = 8,
) -> float:
    """Mean squared error of the noise that a prior predicts, whatever it predicts by itself.

    Args:
        network: the prior.
        clean: images [N, C, H, W] in [-1, 1].
        noise: standard normal, same shape.
        timestep: of the prior's training.
        alpha_bar: cumulative product of alphas there, below 1.
        batch_size: images at a time.

    Returns:
        The error; 1 is that of predicting no noise at all.
    """
    signal, deviation = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    total = 0.0
    parts = zip(torch.split(clean, batch_size), torch.split(noise, batch_size), strict=True)
    for x0, epsilon in parts:
        x_t = signal * x0 + deviation * epsilon
        estimate = _predict_x0(network, x_t, timestep=timestep, alpha_bar=alpha_bar)
        total += float((((x_t - signal * estimate) / deviation - epsilon) ** 2).sum())
    return total / clean.numel()


def _predict_x0(network: ADMUNet, x_t: Tensor, *, timestep: float, alpha_bar: float) -> Tensor:
    """Clean image by one call of the network, not clipped."""
    power = x_t.new_tensor(alpha_bar)
    output: Tensor = network(x_t, x_t.new_tensor([timestep]))[:, : x_t.shape[1]].float()
    if network.prediction_type == "v_prediction":
        return velocity_to_x0(x_t, output, power)
    if network.prediction_type == "epsilon":
        return (x_t - (1 - power).sqrt() * output) / power.sqrt()
    return output
