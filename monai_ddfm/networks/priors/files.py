"""Reading and writing checkpoint files: tensors only, hashes, sidecars, whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors.architecture import Architecture
from monai_ddfm.networks.priors.claims import check_archive, check_extent
from monai_ddfm.utils.files import replace_file
from monai_ddfm.utils.hashes import sha256_of

__all__ = [
    "KNOWN_SHA256",
    "checked",
    "read_sidecar",
    "read_tensors",
    "sidecar_path",
    "write_prior",
]

KNOWN_SHA256: Mapping[str, str] = {
    "256x256_diffusion_uncond.pt": (
        "a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1"
    ),
}
"""SHA-256 of published checkpoints by file name: a file of that name must be that file."""

_WRAPPERS = ("state_dict", "model")


def _verify_sha256(path: Path, expected: str | None) -> None:
    """Compare a file with what it should hash to.

    Args:
        path: the file.
        expected: SHA-256 in hexadecimal; None or empty looks the file's name up among the
            published ones, and accepts any other.

    Raises:
        InputError: if the hashes differ.
    """
    published = KNOWN_SHA256.get(path.name)
    expected = expected or published
    if expected and (found := sha256_of(path)) != expected.strip().lower():
        mend = "; rename it if it is your own network" if expected == published else ""
        raise InputError(
            f"{path} has the SHA-256 {found} instead of {expected}; fetch the file again{mend}"
        )


def read_tensors(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Map the tensors of a checkpoint file into memory; nothing in it is executed.

    Args:
        path: a file written by `torch.save`, the state dict itself or under ``state_dict`` or
            ``model``.
        sha256: what it must hash to, see `_verify_sha256`.

    Returns:
        The tensors, backed by the file: it must stay as it is while they live.

    Raises:
        InputError: if the file is missing, damaged, not a checkpoint, holds anything but floating
            point tensors, or is not the expected one.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a checkpoint")
    try:
        with path.open("rb") as file:
            head = file.read(256)
        _verify_sha256(path, sha256)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check it") from error
    if head.lstrip().startswith(b"<"):
        raise InputError(f"{path} is a web page, not a checkpoint; download the file itself")
    zipped = head.startswith(b"PK")
    if zipped:
        check_archive(path)
    try:
        # Files from before PyTorch 1.6 are no archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if zipped or "global" in str(error).lower():
            raise InputError(
                f"{path} holds more than tensors and is not opened, for it could run code; "
                "save the network's state dict alone"
            ) from error
        raise InputError(f"{path} is not a PyTorch checkpoint; give another file") from error
    except Exception as error:  # what a damaged archive raises is not documented
        raise InputError(
            f"{path} is damaged, cut short or not a PyTorch checkpoint; fetch the file again"
        ) from error
    return _only_tensors(content, path)


def _only_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """Unwrap a state dict and make sure that it is one."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds no state dict; save the network's state dict")
    for key, value in content.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise InputError(
                f"{path}: {key} is not a tensor of floating point numbers; "
                "save the network's state dict alone"
            )
    check_extent(content, path)
    return {str(key): value.detach() for key, value in content.items()}


def checked(
    tensor: Tensor,
    key: str,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    copy: bool = False,
) -> Tensor:
    """Cast and move a weight, and refuse it where that is not a finite number everywhere.

    Raises:
        InputError: naming the file and the key.
    """
    tensor = tensor.to(device=device, dtype=dtype, copy=copy)
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(
            f"{path}: {key} has weights that are NaN or infinite as {tensor.dtype}; "
            "take an earlier checkpoint or a wider type"
        )
    return tensor


def sidecar_path(path: str | Path) -> Path:
    """Return where a prior's architecture is written: ``model.json`` for ``model.pt``."""
    return Path(path).with_suffix(".json")


def read_sidecar(path: Path) -> tuple[Architecture, str]:
    """Read the architecture of the prior `path`, and the hash of the weights it belongs to.

    Raises:
        InputError: if the sidecar is missing or not one.
    """
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        raise InputError(
            f"{path} has no {sidecar.name} beside it to say which network it is; "
            "write both with `monai-ddfm prior convert`"
        )
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
        architecture, sha256 = dict(content["architecture"]), str(content["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{sidecar} is not the description of a prior; write it again with "
            "`monai-ddfm prior convert`"
        ) from error
    return Architecture.from_dict(architecture, name=str(sidecar)), sha256


def write_prior(state: Mapping[str, Tensor], architecture: Architecture, path: Path) -> None:
    """Write a plain state dict and its sidecar, each whole or not at all.

    Raises:
        InputError: if `path` is no name for a prior, or its folder missing or not writable.
    """
    if path.suffix.lower() == ".json" or path.is_dir():
        raise InputError(f"{path} is no name for weights; give a file such as model.pt")
    if path.name in KNOWN_SHA256:
        raise InputError(f"{path.name} is the name of a published checkpoint; give another name")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first or give another file")
    # A tensor that is a part of a larger storage would be saved with all of it.
    whole = {
        key: v if v.is_contiguous() and v.untyped_storage().nbytes() == v.nbytes else v.clone()
        for key, v in state.items()
    }
    replace_file(path, lambda part: torch.save(whole, part))
    description = {"sha256": sha256_of(path), "architecture": asdict(architecture)}
    text = json.dumps(description, indent=2) + "\n"
    replace_file(sidecar_path(path), lambda part: part.write_text(text, encoding="utf-8"))
