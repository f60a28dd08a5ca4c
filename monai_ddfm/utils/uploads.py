"""Values of the host handed over to a device without waiting for it.

A copy from the host makes it wait until the device has done all it was given before, unless the
copy is asked not to. The values are read before the copy returns, so that they may be freed.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["upload"]

# What reads the host's memory later than it says, or is the host itself.
_WAITING = {"cpu", "mps"}


def upload(
    values: Tensor, device: torch.device | str | None, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Return values of the host on a device.

    Args:
        values: on the CPU.
        device: where they are to be; None is where they are.
        dtype: of the result; None is that of `values`.
    """
    values = values if dtype is None else values.to(dtype)
    if device is None:
        return values
    device = torch.device(device)
    return values.to(device, non_blocking=device.type not in _WAITING)
