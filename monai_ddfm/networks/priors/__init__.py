"""Weights of the diffusion prior: conversion from guided diffusion, and loading that refuses.

`architecture` describes a network, `guided_diffusion` translates the published key layout, `files`
reads and writes checkpoints, `published` fetches one on request, and `priors` joins them: what the
bundle and the command line call.
"""

from __future__ import annotations

from monai_ddfm.networks.priors.architecture import Architecture
from monai_ddfm.networks.priors.averaging import averaged_prior
from monai_ddfm.networks.priors.files import KNOWN_SHA256, sidecar_path
from monai_ddfm.networks.priors.growth import grown_prior
from monai_ddfm.networks.priors.guided_diffusion import convert_guided_diffusion_state_dict
from monai_ddfm.networks.priors.loading import (
    PriorInfo,
    convert_checkpoint,
    load_prior,
    network_from_file,
    prior_info,
    save_prior,
)
from monai_ddfm.networks.priors.published import PUBLISHED, PublishedCheckpoint, fetch_checkpoint

__all__ = [
    "KNOWN_SHA256",
    "PUBLISHED",
    "Architecture",
    "PriorInfo",
    "PublishedCheckpoint",
    "averaged_prior",
    "convert_checkpoint",
    "convert_guided_diffusion_state_dict",
    "fetch_checkpoint",
    "grown_prior",
    "load_prior",
    "network_from_file",
    "prior_info",
    "save_prior",
    "sidecar_path",
]
