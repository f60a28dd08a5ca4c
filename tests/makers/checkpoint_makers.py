"""Checkpoints with the published layout, and priors converted from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import convert_checkpoint

SMALL = {"channels": (32, 64), "attention": (False, True), "res_blocks": 1}
IMAGENET = {
    "in_channels": 3,
    "channels": (256, 256, 512, 512, 1024, 1024),
    "attention": (False, False, False, True, True, True),
    "res_blocks": 2,
}


def guided_shapes(  # noqa: PLR0915 - it follows the published constructor from top to bottom
    *,
    channels: tuple[int, ...],
    attention: tuple[bool, ...],
    res_blocks: int,
    in_channels: int = 1,
    learned: bool = True,
    resblock_updown: bool = True,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published network, in the order in which it is assembled."""
    shapes: dict[str, tuple[int, ...]] = {}
    embedding = 4 * channels[0]

    def both(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]

    def residual(name: str, inputs: int, outputs: int) -> None:
        both(f"{name}.in_layers.0", inputs)
        both(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        both(f"{name}.emb_layers.1", 2 * outputs, embedding)
        both(f"{name}.out_layers.0", outputs)
        both(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            both(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attend(name: str, width: int) -> None:
        both(f"{name}.norm", width)
        both(f"{name}.qkv", 3 * width, width, 1)
        both(f"{name}.proj_out", width, width, 1)

    both("time_embed.0", embedding, channels[0])
    both("time_embed.2", embedding, embedding)
    both("input_blocks.0.0", channels[0], in_channels, 3, 3)
    skips, width, block = [channels[0]], channels[0], 1
    for level, outputs in enumerate(channels):
        for _ in range(res_blocks):
            residual(f"input_blocks.{block}.0", width, outputs)
            if attention[level]:
                attend(f"input_blocks.{block}.1", outputs)
            width, block = outputs, block + 1
            skips.append(width)
        if level < len(channels) - 1:
            if resblock_updown:
                residual(f"input_blocks.{block}.0", width, width)
            else:
                both(f"input_blocks.{block}.0.op", width, width, 3, 3)
            block += 1
            skips.append(width)
    residual("middle_block.0", width, width)
    attend("middle_block.1", width)
    residual("middle_block.2", width, width)
    block = 0
    for level in reversed(range(len(channels))):
        for i in range(res_blocks + 1):
            residual(f"output_blocks.{block}.0", width + skips.pop(), channels[level])
            width, slot = channels[level], 1
            if attention[level]:
                attend(f"output_blocks.{block}.1", width)
                slot = 2
            if level and i == res_blocks:
                if resblock_updown:
                    residual(f"output_blocks.{block}.{slot}", width, width)
                else:
                    both(f"output_blocks.{block}.{slot}.conv", width, width, 3, 3)
            block += 1
    both("out.0", width)
    both("out.2", in_channels * (2 if learned else 1), width, 3, 3)
    return shapes


def random_state(
    shapes: dict[str, tuple[int, ...]], *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Weights that keep a signal's size, so that every one of them moves the output."""
    generator = torch.Generator().manual_seed(7)
    state = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float32)
        fan_in = max(1, int(np.prod(shape[1:])))
        gain = 0.1 if len(shape) == 1 else fan_in**-0.5
        offset = 1.0 if len(shape) == 1 and key.endswith("weight") else 0.0
        state[key] = noise.mul_(gain).add_(offset).to(dtype)
    return state


def small_state() -> dict[str, Tensor]:
    return random_state(guided_shapes(**SMALL))


def write_originals(folder: Path) -> Path:
    """A small checkpoint and the prior that is converted from it."""
    torch.save(small_state(), folder / "guided.pt")
    convert_checkpoint(folder / "guided.pt", folder / "model.pt", num_head_channels=16)
    return folder


def copy_of_checkpoint(originals: Path, folder: Path) -> Path:
    return Path(shutil.copy(originals / "guided.pt", folder))


def copy_of_prior(originals: Path, folder: Path) -> Path:
    shutil.copy(originals / "model.json", folder)
    return Path(shutil.copy(originals / "model.pt", folder))


def small_network() -> ADMUNet:
    return ADMUNet(
        1, 2, channels=(32, 64), attention_levels=(False, True), num_res_blocks=1,
        num_head_channels=16,
    )  # fmt: skip
