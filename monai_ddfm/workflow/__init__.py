"""The bundle's own configuration, run from Python; no fusion logic lives here.

`glance` sees what can be seen before anything heavy is loaded, `dry` what a run would do, `fusion`
runs it on volumes, `pictures` on pictures, `cached_prior` loads the prior once for many fusions,
`bundle_files` finds the bundle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.utils.lazy import lazily

if TYPE_CHECKING:
    from monai_ddfm.workflow.dry import plan_only
    from monai_ddfm.workflow.fusion import (
        FusionResult,
        bundle_root,
        check_command_line,
        check_device,
        check_inference,
        fuse,
        log_warnings_of,
        run_configuration,
        run_inference,
    )

__all__ = [
    "FusionResult",
    "bundle_root",
    "check_command_line",
    "check_device",
    "check_inference",
    "fuse",
    "log_warnings_of",
    "plan_only",
    "run_configuration",
    "run_inference",
]

__getattr__ = lazily(
    __name__,
    {
        "dry": ("plan_only",),
        "fusion": (
            "FusionResult",
            "bundle_root",
            "check_command_line",
            "check_device",
            "check_inference",
            "fuse",
            "log_warnings_of",
            "run_configuration",
            "run_inference",
        ),
    },
)
