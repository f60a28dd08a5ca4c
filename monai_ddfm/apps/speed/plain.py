r"""DDFM as anybody would write it down from the paper: the denominator of every ratio.

One slice at a time, float32, 100 (or as many as asked for) DDIM steps without noise; at each step
the network, :math:`x_0` clipped to [-1, 1], one EM iteration, the step. The EM iteration follows
`monai_ddfm.likelihoods.em`'s formulas literally: complex Fourier transforms of every operand, the
transfer functions of both differences computed anew each time. With a prior of three channels,
luminance takes the way over the CPU and scikit-image, as in the published code. Nothing is shared
with the code that is measured against it but the network and the table of noise levels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from monai_ddfm.networks.schedulers import NoiseSchedule

__all__ = ["plain_loop"]

_LAMB, _RHO = 0.5, 0.001


@torch.no_grad()
def plain_loop(
    pair: Tensor, network: nn.Module, *, schedule: NoiseSchedule, start: Tensor
) -> Tensor:
    """Fuse one pair of slices.

    Args:
        pair: [2, H, W] in [-1, 1], fixed and moving; H and W as the network needs them.
        network: the prior.
        schedule: timesteps and noise levels.
        start: start noise [1, C, H, W].

    Returns:
        Fused luminance [H, W].
    """
    fixed, moving = pair[None, :1], pair[None, 1:]
    f1, f2 = torch.zeros_like(fixed), torch.zeros_like(fixed)
    tau_a = tau_b = torch.ones((), device=pair.device)
    x_t = start
    for index, timestep in enumerate(schedule.timesteps):
        output = network(x_t, torch.full((1,), timestep, device=x_t.device))[:, : x_t.shape[1]]
        power, after = schedule.alphas_cumprod[index], schedule.alphas_cumprod_prev[index]
        x0 = _clean(output, x_t, power, getattr(network, "prediction_type", "epsilon"))
        luminance, chroma = _taken_apart(x0)
        luminance, f1, f2, tau_a, tau_b = _em(luminance, moving, fixed, f1, f2, tau_a, tau_b)
        x0 = _put_together(luminance, chroma)
        noise = (x_t - math.sqrt(power) * x0) / math.sqrt(1 - power)
        x_t = math.sqrt(after) * x0 + math.sqrt(1 - after) * noise
    return luminance[0, 0]


def _clean(output: Tensor, x_t: Tensor, power: float, predicts: str) -> Tensor:
    if predicts == "epsilon":
        x0 = (x_t - math.sqrt(1 - power) * output) / math.sqrt(power)
    elif predicts == "v_prediction":
        x0 = math.sqrt(power) * x_t - math.sqrt(1 - power) * output
    else:
        x0 = output
    return x0.clamp(-1, 1)


def _em(
    f: Tensor, i: Tensor, v: Tensor, f1: Tensor, f2: Tensor, tau_a: Tensor, tau_b: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, y = f - v, i - v
    d = torch.sqrt(2 / tau_b / (x**2 + 1e-6))
    c = torch.sqrt(2 / tau_a / torch.clamp((y - x + 1e-6).abs(), min=1e-8) ** 2)
    d = torch.minimum(d, 2 * c)
    tau_b = (1 / (d + 1e-10) + tau_b / 2).mean()
    tau_a = (1 / (c + 1e-10) + tau_a / 2).mean()
    d1, d2 = (_transfer_function(f, dim) for dim in (-1, -2))
    above = torch.fft.fft2(y - x)
    above = above + d1.conj() * torch.fft.fft2(f1) + d2.conj() * torch.fft.fft2(f2)
    h = torch.fft.ifft2(above / (1 + d1.abs() ** 2 + d2.abs() ** 2)).real
    shrink = _RHO / (2 * _LAMB + _RHO)
    f1 = -shrink * _difference(h, -1)
    f2 = -shrink * _difference(h, -2)
    x = (2 * c * y + _RHO * (y - h)) / (2 * c + 2 * d + _RHO)
    return i - x, f1, f2, tau_a, tau_b


def _transfer_function(image: Tensor, dim: int) -> Tensor:
    """Fourier transform of the periodic forward difference h(n + 1) - h(n)."""
    kernel = torch.zeros_like(image)
    kernel[..., 0, 0] = -1
    kernel[(..., 0, -1) if dim == -1 else (..., -1, 0)] = 1
    transformed: Tensor = torch.fft.fft2(kernel)
    return transformed


def _difference(h: Tensor, dim: int) -> Tensor:
    """Forward difference; beyond the last row or column is zero."""
    zero = torch.zeros_like(h.narrow(dim, 0, 1))
    return torch.cat([h.narrow(dim, 1, h.shape[dim] - 1), zero], dim) - h


def _taken_apart(x0: Tensor) -> tuple[Tensor, np.ndarray | None]:
    if x0.shape[1] == 1:
        return x0, None
    from skimage.color import rgb2ycbcr  # noqa: PLC0415 - only for a prior of three channels

    image = rgb2ycbcr(x0[0].permute(1, 2, 0).cpu().numpy()) / 255
    luminance = torch.from_numpy(image[None, None, ..., 0]).to(x0)
    return luminance, image[..., 1:]


def _put_together(luminance: Tensor, chroma: np.ndarray | None) -> Tensor:
    if chroma is None:
        return luminance
    from skimage.color import ycbcr2rgb  # noqa: PLC0415

    image = np.concatenate([luminance[0, 0].cpu().numpy()[..., None], chroma], axis=-1)
    rgb = ycbcr2rgb(image.astype(np.float64) * 255)
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].to(luminance)
