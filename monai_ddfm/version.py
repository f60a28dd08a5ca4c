"""The package's version, and how this very installation is given an extra."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlsplit

__all__ = ["__version__", "install_command"]

__version__ = "0.1.0"

_NAME = "monai-ddfm"


def install_command(extra: str) -> str:
    """Return the command that adds an extra to the package that is running.

    Where it came from is told by what the installer left, ``direct_url.json`` (PEP 610): a clone,
    an archive, or, where there is none, an index. So the command is true before the package is
    published, and after.

    Args:
        extra: one of ``[project.optional-dependencies]``.

    Returns:
        For example ``pip install -e "/home/me/monai_ddfm[dicom]"`` from a clone, and
        ``pip install "monai-ddfm[dicom]"`` from an index.
    """
    try:
        text = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:  # run from a folder, never installed
        return f'pip install ".[{extra}]" in a clone of its repository'
    return _command(json.loads(text) if text else None, extra)


def _command(origin: dict[str, object] | None, extra: str) -> str:
    """Say how `extra` is installed from `origin`, the content of ``direct_url.json``."""
    if origin is None:
        return f'pip install "{_NAME}[{extra}]"'
    url, folder = str(origin.get("url", "")), origin.get("dir_info")
    if isinstance(folder, dict) and urlsplit(url).scheme == "file":
        editable = "-e " if folder.get("editable") else ""
        return f'pip install {editable}"{unquote(urlsplit(url).path)}[{extra}]"'
    control = origin.get("vcs_info")
    prefix = f"{control.get('vcs')}+" if isinstance(control, dict) else ""
    return f'pip install "{_NAME}[{extra}] @ {prefix}{url}"'
