"""Everything a run has on the grid of the MRI, as the writers of formats take it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from monai_ddfm.sources import Moved
from monai_ddfm.utils.arrays import as_array

__all__ = ["RECOVERED", "SPREAD", "STABILITY", "Maps", "check_on_grid"]

SPREAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fused_std": "standard deviation of the samples",
        "fused_low": "lower end of the 90 % interval of the fusion",
        "fused_high": "upper end of the 90 % interval of the fusion",
    }
)
"""Keys of a case that came from several samples; they name the maps too."""

STABILITY: Final = "agreement of the samples on the weight"
"""What the stability of a weight is; a moving volume has its own."""

RECOVERED: Final = "moving_recovered"
"""Key of an estimate of the moving volume without partial volumes; it names the map too."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Volumes on one grid.

    Attributes:
        fixed: MetaTensor [1, H, W, D], the MRI in its own units; the grid is its.
        fused: [1, H, W, D], luminance in [0, 1].
        moved: the moving volumes and their shares, one or several.
        rgb: [3, H, W, D], colors in [0, 1].
        spread: [1, H, W, D] each, by a key of `SPREAD`.
        recovered: [1, H, W, D], an estimate of the only moving volume without partial volumes, in
            its units.
    """

    fixed: Any
    fused: Any
    moved: tuple[Moved, ...]
    rgb: Any = None
    spread: Mapping[str, Any] = field(default_factory=dict)
    recovered: Any = None


def check_on_grid(case: Mapping[Hashable, Any], keys: Iterable[str], *, fixed_key: str) -> None:
    """Check that volumes lie on the grid of the MRI.

    Args:
        case: those that it lacks are passed over.
        keys: of the volumes.
        fixed_key: of the MRI.

    Raises:
        ValueError: one does not.
    """
    fixed = case[fixed_key]
    for key in keys:
        volume = case.get(key)
        if volume is None:
            continue
        affine = getattr(volume, "affine", fixed.affine)
        same = np.allclose(as_array(affine), as_array(fixed.affine), atol=1e-3)
        if volume.shape[1:] != fixed.shape[1:] or not same:
            raise ValueError(f"{key!r} is not on the grid of {fixed_key!r}")
