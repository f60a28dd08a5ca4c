"""The volumes that a request may name, and where they come from.

A request names volumes by identifiers, which are looked up in the store. A store hands out
`Volume` objects; only those know paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from monai_ddfm.apps.label.pairing import PairingRules, choose_by_name, modalities_by_name
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["FolderStudies", "Studies", "Volume"]


@dataclass(frozen=True)
class Volume:
    """A volume of the store or of a session.

    Attributes:
        id: its identifier.
        modality: what it is; None if the store does not know.
        fetch: given an empty folder to put it into if need be, returns the file or folder that
            holds the volume.
    """

    id: str
    modality: Modality | None
    fetch: Callable[[Path], Path]


class Studies(Protocol):
    """What a store does for a request."""

    is_archive: bool

    def find(self, image: str) -> Volume:
        """Look a volume up by its identifier.

        Raises:
            InputError: it is not in the store.
        """

    def find_partners(
        self, image: str, modalities: Sequence[Modality | None], *, every: bool = False
    ) -> tuple[Volume, ...]:
        """Find the moving volumes of an MRI, one for each modality.

        Args:
            image: identifier of the MRI.
            modalities: wanted, in their order; None takes any.
            every: take all modalities that there are instead.

        Raises:
            InputError: there is none of a modality, or more than one.
        """

    def keep(self, files: Sequence[Path]) -> int:
        """Store results; returns how many objects were stored."""


class FolderStudies:
    """The volumes of a folder, by the names of their files.

    Args:
        datastore: MONAI Label's store of the folder.
        folder: the folder; a volume must lie in it, whatever the store's own list says.
        rules: how volumes are paired.
    """

    is_archive = False

    def __init__(self, datastore: Any, folder: Path, rules: PairingRules) -> None:
        self._datastore, self._folder, self._rules = datastore, folder.resolve(), rules

    def find(self, image: str) -> Volume:
        """Look a volume up; see `Studies.find`."""
        ids = self._ids()
        if image not in ids:
            raise InputError(f"{image!r} is not in the store; correct its name.")
        path = Path(self._datastore.get_image_uri(image)).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise InputError(f"{image!r} has no file in the store; upload it again.")
        return Volume(image, self._rules.identify(image)[1], lambda _: path)

    def find_partners(
        self, image: str, modalities: Sequence[Modality | None], *, every: bool = False
    ) -> tuple[Volume, ...]:
        """Find the moving volumes by name; see `Studies.find_partners`."""
        ids = self._ids()
        wanted: Sequence[Modality | None] = modalities
        if every:
            wanted = modalities_by_name(image, ids, rules=self._rules)
        chosen = [
            choose_by_name(image, ids, modality=kind, rules=self._rules)
            for kind in wanted or [None]
        ]
        return tuple(Volume(one.id, one.modality, self.find(one.id).fetch) for one in chosen)

    def keep(self, files: Sequence[Path]) -> int:  # noqa: ARG002 - results go to the client only
        """Store nothing: a folder is for volumes and labels, and a fusion is neither."""
        return 0

    def _ids(self) -> set[str]:
        return set(self._datastore.list_images())
