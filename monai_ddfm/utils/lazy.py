"""Rooms that offer the names of their modules, and load a module when it is asked for.

A room of many modules would otherwise load them all, with all of their libraries, for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package (PEP 562).

    Args:
        package: its name.
        homes: module below the package: the names that it defines.

    Returns:
        A function from a name to what it stands for; it raises AttributeError for others.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def offered(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return offered
