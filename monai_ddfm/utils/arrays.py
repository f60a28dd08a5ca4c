"""What a tensor holds, as a plain array of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["as_array"]


def as_array(data: Any) -> NDArray[Any]:
    """Return a tensor on any device, or anything like an array, as a numpy array.

    Args:
        data: the tensor or array.

    Returns:
        The values; not a copy where none is needed.
    """
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        return np.asarray(data.as_tensor() if hasattr(data, "as_tensor") else data)
    return np.asarray(data)
