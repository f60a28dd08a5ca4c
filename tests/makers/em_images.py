"""Images and parameters for the tests of the EM step."""

from __future__ import annotations

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

SIDES = st.integers(1, 19)
QUICK = settings(max_examples=40, deadline=None, derandomize=True)
PUBLISHED = {"lamb": 0.5, "rho": 0.001}


def images(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Three images in [-1, 1]: an estimate, moving and fixed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple((torch.rand(3, *shape, generator=generator, dtype=dtype) * 2 - 1).unbind(0))
