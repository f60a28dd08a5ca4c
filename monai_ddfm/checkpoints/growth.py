r"""A deeper prior that begins as a shallower one.

A residual block computes :math:`x + f(x)`. Where the last convolution of :math:`f` is zero, it
passes :math:`x` on, so blocks can be put into a trained network without changing what it predicts,
and training goes on from there ("Net2DeeperNet", Chen et al. 2016, arXiv 1511.05641).

On the way down, level by level, new blocks follow the old ones. On the way up each block also takes
one of the features left on the way down, newest first:

.. math::

    \text{old: } r_0(h, s_n),\ r_1(h, s_{n-1}),\ \dots,\ r_n(h, s_0)

New blocks pass on :math:`s_n` unchanged, so :math:`r_0` keeps its place and takes the last of the
copies, :math:`k` new blocks follow and drop the others, and :math:`r_1` becomes :math:`r_{1+k}`.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_ddfm.checkpoints.architecture import Architecture
from monai_ddfm.checkpoints.files import sidecar_path
from monai_ddfm.checkpoints.priors import load_prior, network_from_file
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet, ScaleShiftResnetBlock

__all__ = ["grown_prior"]

_BLOCK = re.compile(
    r"(?P<way>down|up)_blocks\.(?P<level>\d+)\.(?P<kind>resnets|attentions)\.(?P<at>\d+)"
)


def grown_prior(network: ADMUNet, path: str | Path) -> ADMUNet:
    """Give `network` the weights of a prior with the same or fewer residual blocks per level.

    Args:
        network: an `ADMUNet` with weights, not on the meta device.
        path: a prior. If its sidecar tells of fewer blocks, the network predicts what that prior
            predicts, and its additional blocks do nothing yet; without a sidecar the file must
            have the network's own keys.

    Returns:
        `network`, in evaluation mode.

    Raises:
        InputError: as `load_prior`, and if the prior differs in anything but the number of blocks,
            or has more of them.
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
    added = [
        new - old for old, new in zip(found.num_res_blocks, wanted.num_res_blocks, strict=True)
    ]
    state = {_new_key(key, added): value for key, value in small.state_dict().items()}
    network.load_state_dict(state, strict=False)
    for name, module in network.named_modules():
        if _BLOCK.fullmatch(name) and not any(key.startswith(f"{name}.") for key in state):
            _pass_on(module)
    network.eval()
    return network


def _check_growth(found: Architecture, wanted: Architecture, path: Path) -> None:
    """Refuse a prior that cannot grow into what is wanted."""
    old, new = asdict(found), asdict(wanted)
    for field, value in new.items():
        if field != "num_res_blocks" and value != old[field]:
            raise InputError(
                f"{path} has {field} {old[field]} where {value} is needed; "
                "a prior can only grow in num_res_blocks"
            )
    if any(b < a for a, b in zip(found.num_res_blocks, wanted.num_res_blocks, strict=True)):
        raise InputError(
            f"{path} has num_res_blocks {found.num_res_blocks}, and {wanted.num_res_blocks} is "
            "less; a prior cannot shrink"
        )


def _new_key(key: str, added: list[int]) -> str:
    """Where a weight of the shallower network belongs; `added` blocks by level, finest first."""
    match = _BLOCK.match(key)
    if match is None or match["way"] == "down" or match["at"] == "0":
        return key
    level = len(added) - 1 - int(match["level"])
    at = int(match["at"]) + added[level]
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
