"""What is measured on: the demo subject, or heads of any size; the prior, or one of any size."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from monai_ddfm.apps.benchmark.bundle import preprocess_volumes
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import network_from_file
from monai_ddfm.workflow.bundle_files import bundle_root

__all__ = ["RANDOM_PRIORS", "demo_pair", "loaded_pair", "network_named", "synthetic_volume"]

RANDOM_PRIORS = {
    # The published 256 x 256 ImageNet network: 552.8 million parameters.
    "imagenet-256": {
        "in_channels": 3,
        "out_channels": 6,
        "channels": (256, 256, 512, 512, 1024, 1024),
        "attention_levels": (False, False, False, True, True, True),
        "num_res_blocks": 2,
        "num_head_channels": 64,
    },
}


def demo_pair(folder: Path) -> tuple[Path, Path]:
    """Write the demo subject's MRI and PET to a folder and return their files."""
    from monai_ddfm.apps.demo import make_demo  # noqa: PLC0415 - needs the extra

    subject = make_demo(folder, modality="PET")
    return subject.fixed, subject.moving


def loaded_pair(fixed: Path, moving: Path) -> Tensor:
    """Return an MRI and a PET as the inferer gets them, [2, H, W, D], not registered."""
    case = preprocess_volumes(fixed, moving, modality="PET", options={"registration": "none"})
    volume: Tensor = case["image"].as_tensor().float()
    return volume


def synthetic_volume(size: int, slices: int) -> Tensor:
    """Return ellipsoids with smooth texture, [2, size, size, slices]; they fill 60 % of a slice."""
    axes = [torch.linspace(-1, 1, side) for side in (size, size, slices)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    inside = (x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 2) ** 2 < 1
    one = 0.6 * torch.sin(9 * x) * torch.cos(7 * y + 3 * z)
    other = 0.6 * torch.cos(4 * x - 2 * z) * torch.sin(5 * y)
    return torch.stack([torch.where(inside, texture, -1.0) for texture in (one, other)])


def network_named(prior: Path | None, random_prior: str | None, device: torch.device) -> ADMUNet:
    """Return the bundle's prior, that of a file, or a known architecture with random weights.

    Raises:
        InputError: if the architecture is unknown or the file no prior.
    """
    if random_prior is None:
        path = prior or bundle_root() / "models" / "model.pt"
        loaded: ADMUNet = network_from_file(path).to(device)
        return loaded
    if random_prior not in RANDOM_PRIORS:
        raise InputError(
            f"architecture {random_prior!r} is unknown; use {', '.join(RANDOM_PRIORS)}."
        )
    torch.manual_seed(0)
    with device:
        network = ADMUNet(**RANDOM_PRIORS[random_prior])  # type: ignore[arg-type]
    for parameter in network.parameters():
        if not parameter.any():  # layers that start at zero would take no part
            torch.nn.init.normal_(parameter, std=0.01)
    network.eval()
    return network
