r"""One training step of the prior: noise a picture and predict its velocity.

With :math:`x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon` the network predicts

.. math::

    v_t = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0

(Salimans and Ho 2022, arXiv 2202.00512), from which
:math:`x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v_t`. Unlike noise prediction, the
estimate of :math:`x_0` stays bounded at large t, where few-step sampling begins.

The forward process is MONAI's scheduler; only sampling needs this package's own solvers.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import VPredictionPrepareBatch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import Scheduler
from torch import Tensor, nn

from monai_ddfm.training.augmentation import SliceAugmenter

__all__ = ["AugmentedVelocityBatch", "DenoisingInferer", "velocity_to_x0"]


class AugmentedVelocityBatch(VPredictionPrepareBatch):  # type: ignore[misc]
    """Prepares a batch of `SliceDataset`: augmented pictures, noise, timesteps and velocity.

    Args:
        scheduler: MONAI scheduler of the forward process, with ``prediction_type="v_prediction"``.
        augmenter: makes training pictures of slices.
    """

    def __init__(self, scheduler: Scheduler, augmenter: SliceAugmenter) -> None:
        super().__init__(scheduler=scheduler, num_train_timesteps=scheduler.num_train_timesteps)
        self.augmenter = augmenter

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
        """Return pictures [n, 1, S, S] in [-1, 1], their velocity, and the inferer's arguments."""
        slices, pixel_mm, detail_mm = (
            batchdata[key].to(device, non_blocking=non_blocking)
            for key in ("image", "pixel_mm", "detail_mm")
        )
        pictures = self.augmenter(slices.float() / 255, pixel_mm.float(), detail_mm.float())
        return super().__call__({"image": pictures}, device, non_blocking, **kwargs)  # type: ignore[no-any-return]


class DenoisingInferer(DiffusionInferer):  # type: ignore[misc]
    """MONAI's diffusion inferer with mixed precision on any device.

    Args:
        scheduler: MONAI scheduler of the forward process.
        autocast_dtype: name of the network's dtype, ``"bfloat16"`` or ``"float16"``; None is full
            precision. MONAI's trainer offers mixed precision on CUDA only.
    """

    def __init__(self, scheduler: Scheduler, *, autocast_dtype: str | None = None) -> None:
        super().__init__(scheduler)
        self.autocast_dtype = None if autocast_dtype is None else getattr(torch, autocast_dtype)

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
