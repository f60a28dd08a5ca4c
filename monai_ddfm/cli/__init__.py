"""The command ``monai-ddfm``: one module for each group of commands, put together in `program`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_ddfm.cli.program import app

__all__ = ["app", "main"]

_LEAST_BYTES = 1_500_000_000


def main() -> None:
    """Run the command; a mistake of the user ends in one sentence and exit status 2."""
    _check_room()
    try:
        # Here, because even the imports of the program take so long that somebody may stop them.
        from monai_ddfm.cli.program import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        print("error: stopped by the user; nothing was begun.", file=sys.stderr)
        sys.exit(130)
    except MemoryError:
        print("error: there is not enough memory to begin.", file=sys.stderr)
        sys.exit(2)
    run()


def _check_room() -> None:
    """Refuse to begin where the libraries would not even load.

    Short of memory, some of them abort, and others wait for what never comes.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_BYTES:
        print(
            f"error: {limit / 1e9:.3g} GB of memory are allowed (ulimit -v), where at least "
            f"{_LEAST_BYTES / 1e9:.3g} GB are needed; allow more.",
            file=sys.stderr,
        )
        sys.exit(2)


def __getattr__(name: str) -> Any:
    """Load the application when it is asked for."""
    if name == "app":
        from monai_ddfm.cli.program import app as loaded  # noqa: PLC0415

        return loaded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
