r"""A prior of another size that begins as a trained one.

A residual block computes :math:`x + f(x)`. Where the last convolution of :math:`f` is zero, it
passes :math:`x` on, so blocks can be put into a trained network without changing what it predicts,
and training goes on from there ("Net2DeeperNet", Chen et al. 2016, arXiv 1511.05641).

On the way down, level by level, new blocks follow the old ones. On the way up each block also takes
one of the features left on the way down, newest first:

.. math::

    \text{old: } r_0(h, s_n),\ r_1(h, s_{n-1}),\ \dots,\ r_n(h, s_0)

New blocks pass on :math:`s_n` unchanged, so :math:`r_0` keeps its place and takes the last of the
copies, :math:`k` new blocks follow and drop the others, and :math:`r_1` becomes :math:`r_{1+k}`.

Where fewer blocks are wanted, those are left out that growing would have put there. That is no loss
if they have learned little, and else training has to make up for it. A prior can also grow in width
(`monai_ddfm.networks.priors.widening`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet, ScaleShiftResnetBlock
from monai_ddfm.networks.priors.architecture import Architecture
from monai_ddfm.networks.priors.files import sidecar_path
from monai_ddfm.networks.priors.loading import load_prior, network_from_file
from monai_ddfm.networks.priors.widening import widened_state

__all__ = ["grown_prior"]

_BLOCK = re.compile(
    r"(?P<way>down|up)_blocks\.(?P<level>\d+)\.(?P<kind>resnets|attentions)\.(?P<at>\d+)"
)


def grown_prior(network: ADMUNet, path: str | Path) -> ADMUNet:
    """Give `network` the weights of a prior of another depth or a smaller width.

    Args:
        network: an `ADMUNet` with weights, not on the meta device.
        path: a prior. If its sidecar tells of fewer residual blocks, the network predicts what that
            prior predicts, and its additional blocks do nothing yet; with more blocks than wanted,
            some are left out; with fewer channels, features are copied. Without a sidecar the file
            must have the network's own keys.

    Returns:
        `network`, in evaluation mode.

    Raises:
        InputError: as `load_prior`, and if the prior differs in anything else, has more channels,
            or the wanted ones are no whole multiple of its own or belong to attention.
    """
    path = Path(path)
    wanted = Architecture.of(network)
    if not (path.is_file() and sidecar_path(path).is_file()):
        return load_prior(network, path)
    small = network_from_file(path)
    found = Architecture.of(small)
    if found == wanted:
        return load_prior(network, path)
    _check_growth(found, wanted, path)
    state = _reblocked(small.state_dict(), found, wanted)
    if found.channels != wanted.channels:
        narrow = replace(found, num_res_blocks=wanted.num_res_blocks)
        state = widened_state(state, narrow=narrow, wide=wanted)
    network.load_state_dict(state, strict=False)
    for name, module in network.named_modules():
        if _BLOCK.fullmatch(name) and not any(key.startswith(f"{name}.") for key in state):
            _pass_on(module)
    network.eval()
    return network


def _check_growth(found: Architecture, wanted: Architecture, path: Path) -> None:
    """Refuse a prior that cannot become what is wanted."""
    old, new = asdict(found), asdict(wanted)
    for field, value in new.items():
        if field not in {"channels", "num_res_blocks"} and value != old[field]:
            raise InputError(
                f"{path} has {field} {old[field]} where {value} is needed; give another prior, or "
                "a network_def that differs from it in channels and num_res_blocks only"
            )
    # The bottleneck attends at the width of the coarsest level.
    attends = [*found.attention_levels[:-1], True]
    levels = zip(found.channels, wanted.channels, attends, strict=True)
    if any(b % a or (fixed and a != b) for a, b, fixed in levels):
        raise InputError(
            f"{path} has channels {found.channels}, and {wanted.channels} cannot be made of them; "
            "give whole multiples, and its own numbers at the coarsest level and where attention is"
        )


def _reblocked(
    state: Mapping[str, Tensor], found: Architecture, wanted: Architecture
) -> dict[str, Tensor]:
    """The weights under the names they have among another number of blocks, less those left out."""
    moved = {_new_key(key, found, wanted): value for key, value in state.items()}
    return {key: value for key, value in moved.items() if key is not None}


def _new_key(key: str, found: Architecture, wanted: Architecture) -> str | None:
    """Where a weight belongs among the wanted blocks, None if its block is left out."""
    match = _BLOCK.match(key)
    if match is None:
        return key
    at, level = int(match["at"]), int(match["level"])
    if match["way"] == "down":
        return key if at < wanted.num_res_blocks[level] else None
    if at == 0:
        return key
    level = len(found.channels) - 1 - level
    at += wanted.num_res_blocks[level] - found.num_res_blocks[level]
    if at < 1:
        return None
    return f"up_blocks.{match['level']}.{match['kind']}.{at}{key[match.end() :]}"


@torch.no_grad()
def _pass_on(module: nn.Module) -> None:
    """Make a new block return its input; on the way up, without what it takes from the way down."""
    if not isinstance(module, ScaleShiftResnetBlock):
        _zero(module.attn.out_proj)  # type: ignore[union-attr,arg-type]
        return
    _zero(module.conv2.conv)
    if not isinstance(module.skip_connection, nn.Identity):
        _zero(module.skip_connection.conv)
        weight: Tensor = module.skip_connection.conv.weight
        for channel in range(weight.shape[0]):
            weight[channel, channel] = 1


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
