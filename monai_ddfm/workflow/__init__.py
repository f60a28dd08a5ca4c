"""The bundle's own configuration, run from Python; no fusion logic lives here.

`fusion` runs it on volumes, `pictures` on pictures, `cached_prior` loads the prior once for
many fusions, `bundle_files` finds the bundle.
"""

from __future__ import annotations

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
    "run_configuration",
    "run_inference",
]
