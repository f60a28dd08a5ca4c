"""The few things that the processes of one training run have to agree on.

Without `torch.distributed` a run is one process, rank 0 of 1.
"""

from __future__ import annotations

import torch
import torch.distributed as dist

__all__ = ["barrier", "from_rank_zero", "rank", "world_size"]


def rank() -> int:
    """Return this process's number; 0 writes the files."""
    return dist.get_rank() if _distributed() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _distributed() else 1


def barrier() -> None:
    """Wait for the other processes."""
    if _distributed():
        dist.barrier()


def from_rank_zero(value: float, device: torch.device) -> float:
    """Return rank 0's `value` on every rank.

    Args:
        value: this process's own.
        device: where the backend communicates, the network's.
    """
    if not _distributed():
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
