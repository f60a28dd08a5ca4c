"""The options of a run, read off what MONAI's parser has resolved of a configuration.

MONAI's configurations know no reference to all entries, and one for each would say every option
twice. But an expression sees the entries that are resolved, by the name through which MONAI hands
references to it: ``__local_refs``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monai_ddfm.options.groups import all_options

__all__ = ["ResolvedOptions"]


class ResolvedOptions(Mapping[str, Any]):
    """The recorded options among the entries that a run uses, in the order of their declaration.

    Entries are resolved one after the other, so this looks again whenever it is asked; once the
    run has begun it has all. What no part of a configuration refers to is not in it.

    Args:
        entries: those that are resolved so far, by name; more may follow.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Any:
        """Return the value of an option."""
        if name in self._names():
            return self._entries[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over names."""
        return self._names()

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(1 for _ in self._names())

    def __reduce__(self) -> Any:
        """Have another process get the values, and not all that the parser has made."""
        return ResolvedOptions, (dict(self),)

    def _names(self) -> Iterator[str]:
        declared = all_options().items()
        return (name for name, o in declared if o.recorded and name in self._entries)
