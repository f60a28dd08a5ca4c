"""What MONAI Label 0.8.5 needs beside packages that are newer than itself.

- pydicom-seg 0.4.1 takes UIDs from a module that pydicom 3 no longer has.
- PyPI's torchvision does not load its operators beside a CPU build of PyTorch, and then refuses to
  be imported for want of two of them. MONAI Label draws grids of pictures with it, nothing else.
- Tokens are decoded without naming an algorithm, which PyJWT 2 refuses: nobody could log in.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from monai_ddfm.errors import InputError
from monai_ddfm.version import install_command

__all__ = ["TOKEN_ALGORITHMS", "mend_packages", "mend_tokens"]

TOKEN_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "PS256")
"""Signatures that tokens may have: those with a public key, for that is what a realm publishes."""

_UIDS = "pydicom._storage_sopclass_uids"
_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_kept: list[Any] = []  # a library of operators goes when nobody holds it


def mend_packages() -> None:
    """Make MONAI Label importable; call it before anything of MONAI Label is imported.

    Raises:
        InputError: MONAI Label is not installed.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise InputError(
            "MONAI Label is not installed here; it needs an environment of its own, made by "
            f"`PIP_CONSTRAINT=constraints-label.txt {install_command('label')}`."
        )
    _mend_pydicom()
    _mend_torchvision()


def mend_tokens() -> None:
    """Let tokens be decoded; call it after MONAI Label has been imported."""
    auth: Any = importlib.import_module("monailabel.endpoints.user.auth")
    jwt: Any = importlib.import_module("jwt")
    module = ModuleType("jwt")
    module.__dict__.update(vars(jwt))

    def decode(token: str, key: str, options: dict[str, Any]) -> Any:
        return jwt.decode(token, key, algorithms=list(TOKEN_ALGORITHMS), options=options)

    module.__dict__["decode"] = decode
    auth.jwt = module


def _mend_pydicom() -> None:
    if _UIDS in sys.modules or importlib.util.find_spec(_UIDS):
        return
    from pydicom import uid  # noqa: PLC0415 - this module must not import much

    module = ModuleType(_UIDS)
    module.__dict__["SegmentationStorage"] = uid.SegmentationStorage
    sys.modules[_UIDS] = module


def _mend_torchvision() -> None:
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    import torch  # noqa: PLC0415

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _OPERATORS.values():
            library.define(schema)
        _kept.append(library)
        importlib.import_module("torchvision")
