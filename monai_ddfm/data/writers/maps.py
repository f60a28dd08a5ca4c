"""Everything a run has on the grid of the MRI, as the writers of formats take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from monai_ddfm.sources import Moved

__all__ = ["RECOVERED", "SPREAD", "Maps"]

SPREAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fused_std": "standard deviation of the samples",
        "fused_low": "lower end of the 90 % interval of the fusion",
        "fused_high": "upper end of the 90 % interval of the fusion",
        "weight_stability": "agreement of the samples on the weight",
    }
)
"""Keys of a case that came from several samples; they name the maps too."""

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
