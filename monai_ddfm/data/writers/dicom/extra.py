"""Packages that only some of the work needs, imported when it does."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from monai_ddfm.errors import InputError
from monai_ddfm.version import install_command

__all__ = ["need"]


def need(package: str, purpose: str) -> Any:
    """Import a package of the extra ``dicom``.

    Args:
        package: its module.
        purpose: what it is needed for, to stand behind "needed".

    Returns:
        The module.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f"{package.partition('.')[0]} is needed {purpose}; install it with "
            f"`{install_command('dicom')}`."
        ) from error
