"""Pairs and priors that the tests of the benchmark share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from run_cases import SMALL, randomize

from monai_ddfm.apps.benchmark import Case, Prior
from monai_ddfm.networks import ADMUNet


def make_prior() -> Prior:
    return Prior(randomize(ADMUNet(**SMALL)), "small")


def heads(name: str, modality: str, *, seed: int = 0, size: tuple[int, ...] = (48, 44)) -> Case:
    """Two sources with a bright disk (or ball) on black, and texture inside."""
    generator = torch.Generator().manual_seed(seed)
    grids = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    head = sum(grid**2 for grid in grids) < 0.7
    image = (0.3 + 0.6 * torch.rand(2, *size, generator=generator)) * head
    return Case(name=name, modality=modality, image=image[None], fixed=image[:1], moving=image[1:])


def save_pictures(base: Path) -> Path:
    """Two MRI-PET pairs and one MRI-CT pair below `base`, as folders of PNG files."""
    generator = np.random.default_rng(0)
    for folder, names in (("MRI-PET", ("a", "b")), ("MRI-CT", ("c",))):
        moving = folder.partition("-")[2]
        for name in names:
            case = heads(name, moving, seed=ord(name))
            for role, image in (("MRI", case.fixed), (moving, case.moving)):
                path = base / folder / role / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                levels = (image[0].numpy() * 255).astype(np.uint8)
                if role == "PET":
                    tint = generator.random(3)
                    levels = (levels[..., None] * tint).astype(np.uint8)
                Image.fromarray(levels).save(path)
    return base
