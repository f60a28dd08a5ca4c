"""Training-free fusion of medical volumes with a diffusion prior, for MONAI.

The method is DDFM (Zhao et al., ICCV 2023, arXiv 2303.06840). ``monai_ddfm.fuse`` runs the bundled
pipeline from Python; the modules below it can be used one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai_ddfm.utils.former_names import forward
from monai_ddfm.version import __version__

if TYPE_CHECKING:
    from monai_ddfm.workflow import FusionResult, fuse

__all__ = ["FusionResult", "__version__", "fuse"]

forward()


def __getattr__(name: str) -> Any:
    """Load the workflow only when asked: the numerical modules must import without it."""
    if name in {"fuse", "FusionResult"}:
        from monai_ddfm import workflow  # noqa: PLC0415

        return getattr(workflow, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
