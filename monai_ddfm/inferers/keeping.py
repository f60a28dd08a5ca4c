"""What a run that may be killed needs: a place for finished slices, and a name for the run.

The name is a hash of everything that the result depends on: the sources as the network is given
them (so it covers the files, the registration, the window and the grid), the weights, the way of
sampling, the kind of device and the versions of the software. A run that is repeated has the same
name and finds what is finished; anything else has another name, and finds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from monai_ddfm.version import __version__

__all__ = ["SliceStore", "run_name"]


class SliceStore(Protocol):
    """Keeps finished slices where a killed process leaves them."""

    def open(self, name: str) -> Mapping[int, Tensor]:
        """Return what a run of that name has finished, [2, height, width] by number of the slice.

        Args:
            name: from `run_name`.
        """
        ...

    def keep(self, finished: Mapping[int, Tensor]) -> None:
        """Keep finished slices of the run that was opened last.

        Args:
            finished: [2, height, width] float32 by number of the slice.

        Raises:
            InputError: if they cannot be written.
        """
        ...


def run_name(slices: Tensor, network: nn.Module, *, settings: str) -> str:
    """Name a run after all that its result depends on.

    Args:
        slices: the sources, [N, 2, H, W].
        network: the prior.
        settings: text that differs where the way of sampling does.

    Returns:
        64 hexadecimal digits.
    """
    kind = slices.device.type
    device = torch.cuda.get_device_name(slices.device) if kind == "cuda" else kind
    about = f"{__version__} {torch.__version__} {device} {tuple(slices.shape)} {settings}"
    digest = hashlib.sha256(about.encode())
    for one in slices:
        digest.update(_bytes_of(one))
    for key, value in network.state_dict().items():
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(_bytes_of(value))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data
