r"""A wider prior that begins as a narrower one.

Feature o of a layer that is m times as wide copies feature :math:`\lfloor o / m \rfloor`. What
reads a feature now reads m' copies of it, and shares its weight out among them at random,

.. math::

    w'_{oi} = s_{oi}\, w_{\lfloor o / m \rfloor \lfloor i / m' \rfloor}, \qquad
    \sum_{i:\, \lfloor i / m' \rfloor = j} s_{oi} = 1 \quad \text{for all } o, j,

so every sum is what it was, and the copies learn different things ("Net2WiderNet", Chen et al.
2016, arXiv 1511.05641).

The embedding of a timestep has the frequencies :math:`10000^{-j / n}`, j from 0 to n - 1. With m n
of them every m-th is an old one, and the others begin with no weight.

A group norm finds the same mean and variance in its groups, because copies are neighbors. So where
all levels grow by one factor, the wide network predicts what the narrow one did. Where they grow by
different factors it does so only nearly, and training has to mend that: the groups of features that
are joined from two levels end elsewhere, and between two levels that have become equally wide there
is no projection any more. Between two that were equally wide and are so no longer, the projection
begins as the identity, widened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from monai_ddfm.networks.priors.architecture import Architecture

__all__ = ["widened_state"]

# Inputs of an upward block, after its name; they read the features of two levels.
_READS_BOTH = ("norm1.weight", "norm1.bias", "conv1.conv.weight", "skip_connection.conv.weight")
_PROJECTION = _READS_BOTH[-1]
_EMBEDDING = "time_embed.0.weight"


def widened_state(
    state: Mapping[str, Tensor], *, narrow: Architecture, wide: Architecture
) -> dict[str, Tensor]:
    """Make the weights of a network with more channels.

    Args:
        state: weights of the narrow network; some may be missing.
        narrow: its architecture, an `ADMUNet`'s.
        wide: the same but for its `channels`, each a whole multiple, and the same where there is
            attention.

    Returns:
        Weights for the wide network. The shares are drawn from torch's global generator.
    """
    shapes = {key: value.shape for key, value in wide.build().state_dict().items()}
    joined = {
        name: _copied(old, new)
        for (name, old), (_, new) in zip(_upward_inputs(narrow), _upward_inputs(wide), strict=True)
    }
    grown = {}
    for key, value in {**state, **_identities(state, shapes)}.items():
        if key not in shapes:  # a projection between levels that have become equally wide
            continue
        name = next((key.removesuffix(f".{end}") for end in _READS_BOTH if key.endswith(end)), key)
        given = _spread(value, shapes[key][1]) if key == _EMBEDDING else value
        grown[key] = _widened(given, shapes[key], reads=joined.get(name))
    return grown


def _identities(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Projections that pass on what they read, for blocks of the narrow network that had none."""
    made = {}
    for key, shape in shapes.items():
        block = key.removesuffix(_PROJECTION)
        if block == key or key in state or f"{block}conv1.conv.weight" not in state:
            continue
        features = state[f"{block}conv1.conv.weight"].shape[1]
        identity = torch.eye(features)
        made[key] = identity.reshape(features, features, *[1] * (len(shape) - 2))
        made[f"{block}skip_connection.conv.bias"] = torch.zeros(features)
    return made


def _spread(weight: Tensor, frequencies: int) -> Tensor:
    """Weights [E, F] of a timestep's embedding among whole multiples of its F numbers, else 0."""
    spread = weight.new_zeros(weight.shape[0], frequencies)
    spread[:, :: frequencies // weight.shape[1]] = weight
    return spread


def _widened(weight: Tensor, shape: torch.Size, *, reads: Tensor | None) -> Tensor:
    """One layer's weight; `reads` are the copies it reads where two levels are joined."""
    for dim, (old, new) in enumerate(zip(weight.shape, shape, strict=True)):
        if old == new:
            continue
        is_input = dim == 1 or weight.dim() == 1
        copied = reads if reads is not None and is_input else _copied([old], [new])
        weight = weight.index_select(dim, copied)
        if dim == 1:
            weight = weight * _shares(weight, copied, count=old)
    return weight


def _shares(weight: Tensor, copied: Tensor, *, count: int) -> Tensor:
    """Random shares of the weights along dimension 1 that sum to one over each feature's copies."""
    drawn = 0.5 + torch.rand_like(weight)
    shape = list(weight.shape)
    shape[1] = count
    sums = drawn.new_zeros(shape).index_add(1, copied, drawn)
    return drawn / sums.index_select(1, copied)


def _copied(old: Sequence[int], new: Sequence[int]) -> Tensor:
    """For every new feature the old one that it copies, for parts that lie one behind another."""
    parts, start = [], 0
    for before, after in zip(old, new, strict=True):
        parts.append(start + torch.arange(after) * before // after)
        start += before
    return torch.cat(parts)


def _upward_inputs(architecture: Architecture) -> Iterator[tuple[str, list[int]]]:
    """Names of the residual blocks on the way up, with the features from below and from aside."""
    channels, blocks = architecture.channels, architecture.num_res_blocks
    last = len(channels) - 1
    aside = [channels[0]]
    for level, width in enumerate(channels):
        aside += [width] * (blocks[level] + (level < last))
    below = channels[last]
    for step, level in enumerate(range(last, -1, -1)):
        for at in range(blocks[level] + 1):
            yield f"up_blocks.{step}.resnets.{at}", [below, aside.pop()]
            below = channels[level]
