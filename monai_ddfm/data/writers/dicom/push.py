"""Sending what was written to an archive: by C-STORE to a DICOM node, or by STOW-RS to DICOMweb.

A DICOM node is named ``AETITLE@host:port``, a DICOMweb service by the ``http://`` or ``https://``
address that its ``/studies`` lies under. No password can be given here, because options are written
down in the provenance: requests takes it from ``~/.netrc``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from monai_ddfm.data.writers.dicom.extra import need
from monai_ddfm.errors import InputError

__all__ = ["PushTarget", "push_dicom", "store_on_web"]

_NODE = re.compile(
    r"^(?P<title>[\x21-\x3f\x41-\x5b\x5d-\x7e ]{1,16})@(?P<host>[^@/\s]+):(?P<port>\d+)$"
)
_TIMEOUT_S = 30
_REQUEST_BYTES = 32 * 2**20
_WARNINGS = (0xB000, 0xB006, 0xB007)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushTarget:
    """Where to send.

    Attributes:
        title: of the node's application entity; ``""`` for DICOMweb.
        host: of the node.
        port: of the node.
        url: of the DICOMweb service; ``""`` for a node.
        calling: the title that we call ourselves.
    """

    title: str = ""
    host: str = ""
    port: int = 0
    url: str = ""
    calling: str = "MONAI_DDFM"

    @classmethod
    def parse(cls, text: str, *, calling: str = "MONAI_DDFM") -> PushTarget:
        """Understand an address, and see that what is needed to send there is installed.

        Args:
            text: ``AETITLE@host:port``, or the address of a DICOMweb service.
            calling: the title that we call ourselves.

        Raises:
            InputError: the address is none of these, or a package is missing.
        """
        if not 0 < len(calling.strip()) <= 16 or not calling.isascii() or "\\" in calling:
            raise InputError(f"{calling!r} is no AE title; use 1 to 16 plain characters.")
        if re.match(r"^https?://", text, re.IGNORECASE):
            parts = urlsplit(text)
            if parts.username or parts.password:
                raise InputError(
                    "The address of a DICOMweb service must not hold a password; put it into "
                    "~/.netrc."
                )
            if not parts.hostname:
                raise InputError(f"{text!r} names no host; write http://HOST:PORT/dicom-web.")
            need("dicomweb_client", "to send to DICOMweb")
            return cls(url=text.rstrip("/"), calling=calling)
        found = _NODE.match(text.strip())
        if found is None or not 0 < int(found["port"]) < 65536:
            raise InputError(
                f"{text!r} is no DICOM node or service; write AETITLE@HOST:PORT or "
                "http://HOST:PORT/dicom-web."
            )
        need("pynetdicom", "to send to a DICOM node")
        return cls(found["title"], found["host"], int(found["port"]), calling=calling)

    def __str__(self) -> str:
        return self.url or f"{self.title}@{self.host}:{self.port}"


def push_dicom(files: Sequence[Path], target: PushTarget | str) -> int:
    """Send files.

    Args:
        files: DICOM files.
        target: where to; see `PushTarget.parse` for text.

    Returns:
        How many were sent.

    Raises:
        InputError: nobody answers there, or a file was refused; what was sent before stays there.
    """
    target = PushTarget.parse(target) if isinstance(target, str) else target
    try:
        if target.url:
            _push_web(files, target)
        else:
            _push_node(files, target)
    except OSError as error:  # what requests raises, too, is of this kind
        raise InputError(f"{target} cannot be reached ({_short(error)}); {_MEND}") from error
    logger.info("Sent %d objects to %s.", len(files), target)
    return len(files)


_MEND = "the files are written, so send them again when it can be."


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _push_node(files: Sequence[Path], target: PushTarget) -> None:
    net = need("pynetdicom", "to send to a DICOM node")
    node = net.AE(ae_title=target.calling)
    node.acse_timeout = node.dimse_timeout = node.network_timeout = _TIMEOUT_S
    node.connection_timeout = _TIMEOUT_S
    classes = {str(_header(path).SOPClassUID) for path in files}
    for one in sorted(classes):
        node.add_requested_context(one, ExplicitVRLittleEndian)
    link = node.associate(target.host, target.port, ae_title=target.title)
    if not link.is_established:
        raise InputError(f"{target} refuses the connection or is not there; {_MEND}")
    try:
        accepted = {str(context.abstract_syntax) for context in link.accepted_contexts}
        if refused := sorted(classes - accepted):
            name = pydicom.uid.UID(refused[0]).name
            raise InputError(f"{target} does not take objects of the class {name}; {_MEND}")
        for path in files:
            status = link.send_c_store(path).get("Status", None)
            if status not in (0x0000, *_WARNINGS):
                shown = "no answer" if status is None else f"status 0x{status:04X}"
                raise InputError(f"{target} did not store {path.name} ({shown}); {_MEND}")
    finally:
        link.release()


def _push_web(files: Sequence[Path], target: PushTarget) -> None:
    web = need("dicomweb_client", "to send to DICOMweb")
    client = web.api.DICOMwebClient(url=target.url)
    client.set_http_retry_params(retry=False)
    store_on_web(client, files, name=str(target))


def store_on_web(client: Any, files: Sequence[Path], *, name: str) -> int:
    """Store files by STOW-RS, a few at a time.

    Args:
        client: of dicomweb-client, with the authentication that the service wants.
        files: DICOM files.
        name: of the service, for messages.

    Returns:
        How many were stored.

    Raises:
        InputError: the service refused a file; what it took before stays there.
    """
    for batch in _batches(files):
        answer = client.store_instances([pydicom.dcmread(path) for path in batch])
        failed = answer.get("FailedSOPSequence") if answer is not None else None
        if failed:
            why = f"reason 0x{int(failed[0].get('FailureReason') or 0):04X}"
            raise InputError(
                f"{name} did not store {len(failed)} of {len(batch)} objects ({why}); {_MEND}"
            )
    return len(files)


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Divide files into requests of a size that servers take."""
    batch: list[Path] = []
    size = 0
    for path in files:
        length = path.stat().st_size
        if batch and size + length > _REQUEST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch


def _header(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
