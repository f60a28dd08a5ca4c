r"""Unique identifiers, and names for what must not be named.

A new object is called 2.25.N (PS3.5 B.2), where N is the UUID of version 5 of the object's place in
the run under a key K,

    N = UUID5(K / place).

K is random, so two runs never share a name; or, on request, a digest of everything that goes into
the objects, so that the same run gives the same names and another content never does. When a run
is de-identified, a source's identifier u is replaced by UUID5(K / "source" / u): the same
everywhere in the run, and under a random K not to be traced back.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.uid import UID

__all__ = ["Uids", "digest_of"]

_STANDARD = "1.2.840.10008."


@dataclass(frozen=True)
class Uids:
    """Names for the objects of one run.

    Attributes:
        key: what the names follow from; see `random` and `deterministic`.
        replace: whether identifiers of sources are replaced.
    """

    key: str
    replace: bool = False

    @classmethod
    def random(cls, *, replace: bool = False) -> Uids:
        """Return names that no other run shares."""
        return cls(secrets.token_hex(32), replace)

    @classmethod
    def deterministic(cls, parts: Iterable[Any], *, replace: bool = False) -> Uids:
        """Return names that follow from `parts`, which must be all that the objects hold."""
        return cls(digest_of(parts), replace)

    def __call__(self, *place: object) -> UID:
        """Return the name of an object.

        Args:
            place: what the object is in this run, for instance ``"fused", 3``.
        """
        name = "/".join(("monai_ddfm", self.key, *(str(part) for part in place)))
        return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")

    def source(self, uid: str) -> str:
        """Return a source's identifier, or what stands for it.

        Args:
            uid: as in the source's header; ``""`` and invalid ones give ``""``.
        """
        if not uid or not UID(uid).is_valid:
            return ""
        if uid.startswith(_STANDARD) or not self.replace:
            return uid
        return str(self("source", uid))


def digest_of(parts: Iterable[Any]) -> str:
    """Return the SHA-256 of arrays and of anything else by its text.

    Args:
        parts: in a fixed order.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.shape}{part.dtype.str}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        else:
            total.update(f"{type(part).__name__}:{part!r};".encode())
    return total.hexdigest()
