"""What the benchmark takes from the bundle: its preprocessing of volumes, and its prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from monai_ddfm.errors import find_input_error
from monai_ddfm.networks.priors import network_from_file
from monai_ddfm.utils.hashes import sha256_of
from monai_ddfm.workflow.bundle_files import bundle_root

__all__ = ["Prior", "bundle_prior", "preprocess_volumes"]


@dataclass(frozen=True)
class Prior:
    """A diffusion prior and what it is known by.

    Attributes:
        network: called as ``network(x_t, timesteps)``.
        key: changes whenever the network does: the SHA-256 of its file, as a rule.
        path: the file, if there is one.
    """

    network: nn.Module
    key: str
    path: Path | None = None

    @classmethod
    def from_file(cls, path: str | Path, *, device: str = "cpu") -> Prior:
        """Load a prior with its sidecar.

        Raises:
            InputError: as `network_from_file`.
        """
        path = Path(path).expanduser()
        return cls(network_from_file(path).to(device), sha256_of(path), path)


def bundle_prior(*, device: str = "cpu") -> Prior:
    """Load the prior that comes with the bundle.

    Raises:
        InputError: if the bundle is missing or damaged.
    """
    return Prior.from_file(bundle_root() / "models" / "model.pt", device=device)


def preprocess_volumes(
    fixed: Path,
    moving: Path | Sequence[Path],
    *,
    modality: str | Sequence[str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Bring volumes to one grid and to [-1, 1] as the bundle's configuration says.

    Args:
        fixed: the MRI.
        moving: the other volume, or several.
        modality: of `moving`; one for each of several.
        options: further options of the configuration by name, for example ``registration``.

    Returns:
        The case as the bundle's inferer gets it; ``image`` is [2, H, W, D], of several moving
        volumes [1 + N, H, W, D].

    Raises:
        InputError: if a volume cannot be used.
    """
    parser = ConfigParser()
    parser.read_config(bundle_root() / "configs" / "inference.json")
    kinds = str(modality) if isinstance(modality, str) else [str(kind) for kind in modality]
    paths = [*moving] if isinstance(moving, Sequence) else moving
    parser.update({"fixed": fixed, "moving": paths, "modality": kinds, **options})
    try:
        chain = parser.get_parsed_content("preprocessing")
        sources = {source.key: source.path for source in parser.get_parsed_content("sources")}
        case: dict[str, Any] = chain({"fixed": fixed, **sources})
    except Exception as error:
        if cause := find_input_error(error):
            raise cause from error
        raise
    return case
