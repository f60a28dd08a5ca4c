"""A head as an MRI shows it, and volumes as the loader gives them."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

SHAPE = (48, 56, 10)


def radius() -> torch.Tensor:
    """Distance from the middle of the slice, 1 at the scalp."""
    axes = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in SHAPE]
    rows, columns, _ = torch.meshgrid(*axes, indexing="ij")
    return torch.sqrt((rows / 18) ** 2 + (columns / 22) ** 2)


def head(seed: int = 0, noise: float = 0.0) -> MetaTensor:
    """A head: scalp 900, skull 50, brain 500..700, ventricle 150, air 0, Rician noise."""
    r = radius()
    generator = torch.Generator().manual_seed(seed)
    signal = torch.zeros(SHAPE, dtype=torch.float64)
    signal[r < 1.0] = 900
    signal[r < 0.92] = 50
    texture = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    signal[r < 0.82] = (500 + 200 * texture)[r < 0.82]
    signal[r < 0.2] = 150
    if noise:
        real = signal + noise * torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        imaginary = noise * torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        signal = torch.hypot(real, imaginary)
    return volume(signal)


def volume(values: torch.Tensor, name: str = "scan.nii.gz") -> MetaTensor:
    values = values.float()
    values = values if values.ndim == 4 else values[None]
    affine = torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64))
    return MetaTensor(values, affine=affine, meta={"filename_or_obj": name})
