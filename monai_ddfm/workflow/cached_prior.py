"""The prior loaded once for many fusions in one process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai.bundle import ConfigParser

from monai_ddfm.utils.former_names import renamed
from monai_ddfm.workflow import check_device
from monai_ddfm.workflow.bundle_files import bundle_root, prior_overrides

__all__ = ["cached_prior"]

logger = logging.getLogger(__name__)


def cached_prior(prior: str | Path | None = None, device: str | None = None) -> dict[str, Any]:
    """Load the network as the bundle's configuration does, to be given to every run.

    Args:
        prior: another prior than the bundle's, with its sidecar.
        device: where to compute; None for the configuration's own choice.

    Returns:
        Options for `monai_ddfm.workflow.run_inference`: the network, and what it was chosen by.

    Raises:
        InputError: the prior or the device cannot be used.
    """
    root = bundle_root()
    options: dict[str, Any] = {} if prior is None else prior_overrides(prior)
    if device is not None:
        check_device(device)
        options["device"] = device
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser.update({"bundle_root": str(root), **options})
    network = parser.get_parsed_content("network")
    logger.info("the prior %s is loaded", parser.get_parsed_content("prior"))
    return {**options, "network": network}


if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(__name__, {"kept_prior": "cached_prior"})
