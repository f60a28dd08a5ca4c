"""Where the bundle is, and how another prior is put in place of its own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors import prior_info

__all__ = ["bundle_root", "prior_overrides"]

_BUNDLE = Path("bundles") / "ddfm_medical_fusion"


def bundle_root() -> Path:
    """Return the folder of the bundle: inside the installed package, or in a source checkout.

    Raises:
        InputError: if neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / _BUNDLE, package.parent / _BUNDLE):
        if (candidate / "configs" / "inference.json").is_file():
            return candidate
    raise InputError(f"{package}: the bundle is missing; install monai-ddfm again.")


def prior_overrides(prior: str | Path) -> dict[str, Any]:
    """Return the options that put another prior in place of the bundle's.

    Args:
        prior: a file with its sidecar, as ``monai-ddfm prior convert`` writes them.

    Raises:
        InputError: if it is no prior or has no sidecar.
    """
    info = prior_info(prior)
    if info.kind != "ADMUNet":
        raise InputError(
            f"{prior} is a guided-diffusion checkpoint; convert it first with "
            f"`monai-ddfm prior convert {prior} OUT.pt`."
        )
    if info.architecture is None:
        raise InputError(f"{prior} has no sidecar (.json) that describes its network; add it.")
    network = {"_target_": "monai_ddfm.networks.ADMUNet", **asdict(info.architecture)}
    return {"prior": Path(prior), "prior_sha256": info.sha256, "network_def": network}
