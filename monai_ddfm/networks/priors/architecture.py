"""What has to be known, beside the weights, to build an `ADMUNet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet, ScaleShiftResnetBlock

__all__ = ["Architecture", "check_keys"]

_MOST_LEVELS = 16
_MOST = {
    "in_channels": 1024,
    "out_channels": 2048,
    "channels": 65_536,
    "num_res_blocks": 256,
    "num_head_channels": 65_536,
    "norm_num_groups": 65_536,
    "patch_size": 256,
}
"""The largest number in each field that is let through."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The constructor's arguments of a two-dimensional `ADMUNet`.

    `channels`, `attention_levels`, `num_res_blocks` and `num_head_channels` have one entry per
    level, finest first.
    """

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    num_res_blocks: tuple[int, ...]
    num_head_channels: tuple[int, ...]
    norm_num_groups: int = 32
    resblock_updown: bool = True
    patch_size: int = 1
    prediction_type: str = "epsilon"

    @classmethod
    def of(cls, network: ADMUNet) -> Architecture:
        """Read the architecture off a network."""
        return cls(
            in_channels=network.image_channels,
            out_channels=network.prediction_channels,
            channels=tuple(network.block_out_channels),
            attention_levels=tuple(bool(level) for level in network.attention_levels),
            num_res_blocks=tuple(network.num_res_blocks),
            num_head_channels=tuple(network.num_head_channels),
            norm_num_groups=network.out[0].num_groups,
            resblock_updown=len(network.down_blocks) == 1
            or isinstance(network.down_blocks[0].downsampler, ScaleShiftResnetBlock),
            patch_size=network.patch_size,
            prediction_type=network.prediction_type,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, name: str) -> Architecture:
        """Take the dictionary form back, in which JSON has made lists of the tuples.

        Args:
            values: the fields by name.
            name: the file they come from, for errors.

        Raises:
            InputError: if a field is missing, unknown or of the wrong kind, or the network cannot
                be built.
        """
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        try:
            architecture = cls(**fields)
        except TypeError as error:
            raise InputError(f"{name} does not describe an ADMUNet: {error}") from error
        architecture.check_size(name=name)
        architecture.build(name=name)
        return architecture

    @property
    def learns_variance(self) -> bool:
        """Whether the network predicts a variance beside the noise."""
        return self.out_channels == 2 * self.in_channels

    def check_size(self, *, name: str) -> None:
        """Refuse numbers that no network has, which would take forever to build.

        Args:
            name: the file that the numbers come from, for errors.

        Raises:
            InputError: naming the field.
        """
        for field, most in _MOST.items():
            value = getattr(self, field)
            numbers = value if isinstance(value, tuple) else (value,)
            whole = all(isinstance(number, int) for number in numbers)
            if not whole or len(numbers) > _MOST_LEVELS or any(n > most for n in numbers):
                raise InputError(f"{name} describes no network that can be built: {field} is wrong")

    def build(self, *, name: str = "the architecture") -> ADMUNet:
        """Build the network on the meta device, where it has shapes and no weights.

        Args:
            name: the file that the numbers come from, for errors.

        Raises:
            InputError: if the numbers do not make a network.
        """
        try:
            with torch.device("meta"):
                return ADMUNet(**asdict(self))
        except (ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
            raise InputError(f"{name} describes no network that can be built: {error}") from error


def check_keys(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor], *, name: str
) -> None:
    """Refuse tensors that are not exactly the expected ones.

    Args:
        expected: shape by key, in the order in which to compare.
        found: the tensors of a file.
        name: that file, for errors.

    Raises:
        InputError: naming the first key that is missing or of another shape, or else the first
            one too many.
    """
    other = "the file is of another architecture or incomplete"
    for key, shape in expected.items():
        if key not in found:
            raise InputError(f"{name}: {key} is missing; {other}")
        if (actual := tuple(found[key].shape)) != shape:
            raise InputError(
                f"{name}: {key} has the shape {actual} where {shape} is needed; {other}"
            )
    for key in found:
        if key not in expected:
            raise InputError(f"{name}: {key} is not part of the network; {other}")
