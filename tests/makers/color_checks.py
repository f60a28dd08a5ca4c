"""Random volumes, and what the tests of color ask of a picture."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from skimage.color import rgb2hsv, rgb2ycbcr

SHAPE = (9, 11, 4)


def random(channels: int, seed: int = 0) -> MetaTensor:
    generator = torch.Generator().manual_seed(seed)
    affine = torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64))
    values = (1.4 * torch.rand((channels, *SHAPE), generator=generator) - 0.2).clamp(0, 1)
    return MetaTensor(values, affine=affine, meta={"filename_or_obj": "scan.nii.gz"})


def random_rgb(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Colors of which many lie on the faces and corners of the cube."""
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (1.6 * rgb - 0.3).clamp(0, 1).to(dtype)


def luminance_error(rgb: torch.Tensor, luma: torch.Tensor) -> float:
    """Largest difference, in double precision and by scikit-image's luminance."""
    grey = rgb2ycbcr(rgb.double().numpy(), channel_axis=0)[0]
    return float(np.abs((grey - 16) / 219 - luma[0].double().numpy()).max())


def hue_error(rgb: torch.Tensor, reference: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Difference of the HSV hues in degrees."""
    first, second = (
        torch.from_numpy(rgb2hsv(image.double().numpy(), channel_axis=0)[0])[where]
        for image in (rgb, reference)
    )
    turns = (first - second).abs()
    return 360 * torch.minimum(turns, 1 - turns)


def spread(rgb: torch.Tensor) -> torch.Tensor:
    """How far a color is from grey."""
    return (rgb.amax(0) - rgb.amin(0)).as_subclass(torch.Tensor)
