"""One volume on several processes: each samples its share of the slices, and all get all of them.

Rank r of n takes every n-th patch from the r-th on. Since a slice's result does not depend on what
is computed beside it, the volume is the same as that of one process. There is one exchange, at the
end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from monai_ddfm.inferers.layout import Patch, SliceLayout

__all__ = ["gather", "process_count", "share_of"]


def process_count() -> int:
    """How many processes there are; 1 where none were started together."""
    return _place()[1]


def share_of(patches: Sequence[Patch]) -> list[Patch]:
    """Return the patches that this process samples; all of them if it is alone."""
    rank, world = _place()
    return list(patches[rank::world])


def gather(result: Tensor, layout: SliceLayout) -> None:
    """Exchange what every process has sampled, in place.

    Args:
        result: [N, 2, H, W] float32, with the patches of `share_of` filled in; the others are
            filled in here. NCCL needs it on a GPU.
        layout: the plan of the volume, the same in every process.
    """
    rank, world = _place()
    if world == 1:
        return
    shares = [layout.patches[first::world] for first in range(world)]
    windows = [[_window(result, patch, layout) for patch in share] for share in shares]
    counts = [sum(window.numel() for window in part) for part in windows]
    own = torch.zeros(max(counts), device=result.device)
    if counts[rank]:
        own[: counts[rank]] = torch.cat([window.flatten() for window in windows[rank]])
    received = [torch.empty_like(own) for _ in range(world)]
    distributed.all_gather(received, own)
    for part, flat in zip(windows, received, strict=True):
        first = 0
        for window in part:
            window.copy_(flat[first : first + window.numel()].view_as(window))
            first += window.numel()


def _window(result: Tensor, patch: Patch, layout: SliceLayout) -> Tensor:
    rows, columns = patch.window(height=layout.height, width=layout.width)
    return result[patch.number, :, rows, columns]


def _place() -> tuple[int, int]:
    """Rank and number of the processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
