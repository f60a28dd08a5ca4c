"""Small pictures for tests, and where they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLORS = np.stack([GRADIENT, 255 - GRADIENT, np.full_like(GRADIENT, 40)], axis=-1)


def levels(seed: int, *shape: int, top: int = 255) -> Tensor:
    """Whole gray levels from 0 to `top` at random."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top + 1, shape, generator=generator).double()


def saved(path: Path, array: Any, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path
