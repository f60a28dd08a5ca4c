"""The check that a fusion invents nothing: every voxel lies between its sources.

With a = min(sources) and b = max(sources) in a voxel, the excess of the fusion f is

    max(0, f - b, a - f).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform

from monai_ddfm.utils.slabs import slabs

__all__ = ["CheckBoundD", "CheckBoundDict", "CheckBoundd", "excess_over_sources"]

_TOLERANCE = 1e-5  # rounding of float32 values in [-1, 1] through one EM step


def excess_over_sources(fused: torch.Tensor, sources: torch.Tensor) -> dict[str, Any]:
    """Measure by how much a fusion leaves the range that its sources span in each voxel.

    Args:
        fused: [H, W, D] or [1, H, W, D] in [-1, 1].
        sources: [N, H, W, D] in [-1, 1].

    Returns:
        ``largest``, ``mean``, ``voxels_outside`` (of more than ``tolerance``), ``voxels``,
        ``scale`` that says which values are meant, and ``beyond_scale``: voxels that leave
        [-1, 1] by more than ``tolerance`` and are clipped where the fusion becomes a luminance.
    """
    fused, sources = (x.as_subclass(torch.Tensor).detach() for x in (fused, sources))
    fused = fused.reshape(sources.shape[1:])
    largest, total, outside, beyond = 0.0, 0.0, 0, 0
    for part in slabs(fused.shape):
        above = fused[part] - sources[:, part].amax(dim=0)
        below = sources[:, part].amin(dim=0) - fused[part]
        excess = torch.maximum(above, below).clamp_min(0)
        # A NaN has to come through, and the built-in max may pass over it.
        largest = float(torch.maximum(excess.max(), excess.new_tensor(largest)))
        total += float(excess.sum(dtype=torch.float64))
        outside += int((excess > _TOLERANCE).sum())
        beyond += int((fused[part].abs() > 1 + _TOLERANCE).sum())
    return {
        "largest": largest,
        "mean": total / fused.numel(),
        "voxels_outside": outside,
        "voxels": fused.numel(),
        "tolerance": _TOLERANCE,
        "beyond_scale": beyond,
        "scale": "luminance from -1 to 1",
    }


class CheckBoundd(Transform):  # type: ignore[misc]
    """Put the figures of `excess_over_sources` into the case.

    It belongs before anything is resampled or rescaled, where fusion and sources are on one grid.

    Args:
        fused_key: key of the fusion in [-1, 1]; its first channel is taken.
        source_keys: keys of the sources in [-1, 1]; all their channels are sources.
        output_key: key of the figures.
    """

    def __init__(
        self,
        fused_key: str = "pred",
        source_keys: Sequence[str] | str = "image",
        *,
        output_key: str = "bound",
    ) -> None:
        self.fused_key = fused_key
        self.source_keys = (source_keys,) if isinstance(source_keys, str) else tuple(source_keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with the figures added."""
        fused = data[self.fused_key][0]
        parts = [data[key].to(fused.device) for key in self.source_keys]
        sources = parts[0] if len(parts) == 1 else torch.cat(parts)
        return {**data, self.output_key: excess_over_sources(fused, sources)}


CheckBoundD = CheckBoundDict = CheckBoundd
