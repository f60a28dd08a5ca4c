"""How much memory there is for one thing more.

The least of three counts: what the machine can still give, what the limits of this process allow
(``ulimit -v``), and what its control group may still take (containers, batch systems).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["available_memory"]

_UNKNOWN = 2**63
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory() -> int:
    """Return the bytes that this process can still take; a huge number if that is not known."""
    return max(0, min(_of_machine(), _of_process(), _of_group()))


def _of_machine() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return _UNKNOWN


def _of_process() -> int:
    if resource is None or not sys.platform.startswith("linux"):
        return _UNKNOWN
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return _UNKNOWN
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return limit - pages * resource.getpagesize()
    return limit


def _of_group() -> int:
    for most, now in _GROUPS:
        with suppress(OSError, ValueError):
            limit = Path(most).read_text(encoding="ascii").strip()
            if limit != "max":
                # Files that the system keeps in memory count as used, but give way.
                return int(limit) - int(Path(now).read_text(encoding="ascii")) + _cached(most)
    return _UNKNOWN


def _cached(beside: str) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path(beside).with_name("memory.stat").read_text(encoding="ascii").splitlines():
            name, value = line.split()
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0
