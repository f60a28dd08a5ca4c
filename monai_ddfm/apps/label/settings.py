"""What the operator of a server decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai_ddfm.apps.label.pairing import PairingRules
from monai_ddfm.apps.label.process import Limits

__all__ = ["ServerSettings"]

_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What the operator of a server decides.

    Attributes:
        prior: another prior than the bundle's, with its sidecar.
        device: where to compute; None for the best there is.
        rules: how the volumes of a folder are paired.
        time_limit: seconds that one fusion may take.
        memory_limit: GiB of main memory that the process of the fusions may hold; None is four
            fifths of what the machine has.
        queue_length: fusions that may be in work or wait.
        hosts: names under which clients reach the server, beside its own and addresses.
        writable: whether clients may change and remove what is in the store; they may add to it.
        upload_limit: GiB that one request may have.
    """

    prior: Path | None = None
    device: str | None = None
    rules: PairingRules = PairingRules()  # noqa: RUF009 - it is frozen
    time_limit: float = 1800.0
    memory_limit: float | None = None
    queue_length: int = 16
    hosts: tuple[str, ...] = ()
    writable: bool = False
    upload_limit: float = 2.0

    @property
    def most_bytes(self) -> int:
        """Return the bytes that one request may have."""
        return int(self.upload_limit * 2**30)

    @property
    def limits(self) -> Limits:
        """Return what one fusion may take."""
        import psutil  # noqa: PLC0415 - of the extra

        if self.memory_limit is None:
            memory = _SHARE_OF_MEMORY * psutil.virtual_memory().total
        else:
            memory = self.memory_limit * 2**30
        return Limits(seconds=self.time_limit, memory=int(memory))
