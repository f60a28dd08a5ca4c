"""Priors as files: convert, describe, save, load.

A prior is a plain state dict, as MONAI's `CheckpointLoader` reads it, with its architecture in a
sidecar (``model.pt`` and ``model.json``). Files are mapped into memory and the tensors handed to a
network that has none, so that loading takes about the file's size: the network of the published
256 x 256 ImageNet prior, 2.2 GB, never exists twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors.architecture import Architecture, check_keys
from monai_ddfm.networks.priors.files import (
    checked,
    read_sidecar,
    read_tensors,
    sidecar_path,
    write_prior,
)
from monai_ddfm.networks.priors.guided_diffusion import (
    convert_guided_diffusion_state_dict,
    infer_architecture,
    is_guided_diffusion,
)
from monai_ddfm.utils.hashes import sha256_of

__all__ = [
    "PriorInfo",
    "convert_checkpoint",
    "load_prior",
    "network_from_file",
    "prior_info",
    "save_prior",
]

_COPY_BELOW = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class PriorInfo:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        kind: its key layout, "guided-diffusion" or "ADMUNet".
        parameters: how many weights.
        architecture: from the keys of guided diffusion (whose `num_head_channels` is assumed, not
            read) or from the sidecar; None for an `ADMUNet` without one.
        learned_variance: whether the network predicts a variance beside the noise.
        dtype: the weights' type, for example "float32"; several are joined by commas.
        size: bytes of the file.
        sha256: of the file, in hexadecimal.
    """

    path: Path
    kind: str
    parameters: int
    architecture: Architecture | None
    learned_variance: bool
    dtype: str
    size: int
    sha256: str


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    num_head_channels: int = 64,
    dtype: torch.dtype | None = None,
) -> PriorInfo:
    """Convert a guided-diffusion checkpoint to a prior: a state dict and its sidecar.

    Args:
        source: the published file.
        target: the file to write, for example ``model.pt``; an older one is replaced.
        num_head_channels: see `convert_guided_diffusion_state_dict`.
        dtype: type of the written weights; None keeps the source's.

    Returns:
        What has been written.

    Raises:
        InputError: if `source` cannot be used or `target` cannot be written.
    """
    source, target = Path(source), Path(target)
    state = read_tensors(source)
    if _kind(state, source) != "guided-diffusion":
        raise InputError(f"{source} has an ADMUNet's keys already; use it as it is")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the checkpoint itself; give another file to write")
    converted, architecture = convert_guided_diffusion_state_dict(
        state, num_head_channels=num_head_channels, name=str(source)
    )
    weights = {key: checked(v, key, source, dtype=dtype) for key, v in converted.items()}
    write_prior(weights, architecture, target)
    return prior_info(target)


def save_prior(network: ADMUNet, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a network's weights and architecture as a prior that `network_from_file` reads.

    Args:
        network: the network, on any device.
        path: the file to write, for example ``model.pt``; an older one is replaced.
        dtype: type of the written weights; None keeps the network's.

    Raises:
        InputError: if a weight is not finite or `path` cannot be written.
    """
    path = Path(path)
    state = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    weights = {key: checked(value, key, path, dtype=dtype) for key, value in state.items()}
    write_prior(weights, Architecture.of(network), path)


def load_prior(
    network: ADMUNet,
    path: str | Path,
    *,
    sha256: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> ADMUNet:
    """Give `network` the weights of a file: all of them, and nothing else.

    What the network has is given up once the file's keys and shapes agree. If a value is refused
    after that, the network is left on the meta device, where it cannot predict anything. Its
    parameters are new objects, so an optimizer is to be made afterwards.

    Args:
        network: an `ADMUNet`, which may be on the meta device; its device is kept, meta becomes
            the CPU.
        path: a state dict with this network's keys, or one under ``state_dict`` or ``model``. Files
            over 256 MB stay mapped: do not overwrite them in place while the network lives.
        sha256: what the file must hash to; without it, only published files are compared.
        dtype: type of the network's weights, whatever the file's.

    Returns:
        `network` in evaluation mode.

    Raises:
        InputError: if the file is missing, damaged, not a checkpoint, holds more than tensors, has
            another hash, differs in a key (the first is named) or has weights that are not finite.
    """
    path = Path(path)
    state = read_tensors(path, sha256=sha256)
    if _kind(state, path) == "guided-diffusion":
        raise InputError(
            f"{path} has the keys of guided diffusion; convert it first with "
            f"`monai-ddfm prior convert {path} OUT.pt`"
        )
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    check_keys(expected, state, name=str(path))
    device = next(network.parameters()).device
    device = torch.device("cpu") if device.type == "meta" else device
    copy = path.stat().st_size < _COPY_BELOW
    network.to("meta")
    for key in expected:
        state[key] = checked(state[key], key, path, dtype=dtype, device=device, copy=copy)
    network.load_state_dict(state, strict=True, assign=True)
    network.eval()
    return network


def network_from_file(path: str | Path, *, dtype: torch.dtype = torch.float32) -> ADMUNet:
    """Build the network that a prior's sidecar describes, and load the prior into it.

    Args:
        path: a file written by `convert_checkpoint` or `save_prior`, its sidecar beside it.
        dtype: type of the network's weights.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        InputError: as `load_prior`, and if the sidecar is missing, no description of a network, or
            that of other weights.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a prior")
    architecture, sha256 = read_sidecar(path)
    network = architecture.build(name=str(sidecar_path(path)))
    return load_prior(network, path, sha256=sha256, dtype=dtype)


def prior_info(path: str | Path, *, num_head_channels: int = 64) -> PriorInfo:
    """Describe a checkpoint file, without reading its weights' values.

    Args:
        path: a guided-diffusion checkpoint or a prior.
        num_head_channels: what to assume for a guided-diffusion checkpoint.

    Returns:
        Its description.

    Raises:
        InputError: if it is neither, damaged, or its sidecar that of other weights.
    """
    path = Path(path)
    state = read_tensors(path)
    kind = _kind(state, path)
    sha256 = sha256_of(path)
    architecture = None
    if kind == "guided-diffusion":
        architecture = infer_architecture(
            state, num_head_channels=num_head_channels, name=str(path)
        )
        learned_variance = architecture.learns_variance
    else:
        # The space-to-depth factor is on both ends, so it does not change the comparison.
        inputs, outputs = state["conv_in.conv.weight"], state["out.2.conv.weight"]
        learned_variance = outputs.shape[0] == 2 * inputs.shape[1]
        if sidecar_path(path).exists():
            architecture, described = read_sidecar(path)
            if described != sha256:
                raise InputError(
                    f"{sidecar_path(path)} describes other weights than {path}; "
                    "write both again with `monai-ddfm prior convert`"
                )
    return PriorInfo(
        path=path,
        kind=kind,
        parameters=sum(value.numel() for value in state.values()),
        architecture=architecture,
        learned_variance=learned_variance,
        dtype=", ".join(sorted({str(v.dtype).removeprefix("torch.") for v in state.values()})),
        size=path.stat().st_size,
        sha256=sha256,
    )


def _kind(state: dict[str, Tensor], path: Path) -> str:
    """Tell the key layouts apart."""
    if is_guided_diffusion(state):
        return "guided-diffusion"
    for key in ("conv_in.conv.weight", "out.2.conv.weight"):
        if key not in state:
            raise InputError(
                f"{path}: {key} is missing; the file is neither an ADMUNet's "
                "nor a guided-diffusion checkpoint"
            )
    return "ADMUNet"
