"""Rewrites a transform file in a process of its own; see `monai_ddfm.apart`.

ITK and HDF5 crash on damaged transform files. Here a crash harms nobody, and what comes out is a
file that ITK itself has written from a transform that it has understood.

``python -m monai_ddfm.transforms.transform_child SOURCE TARGET``
"""

from __future__ import annotations

import sys
from pathlib import Path

from monai_ddfm.apart import limit_own_memory

__all__ = ["main"]

_MEMORY = 2 * 2**30
_TIMES = 8
"""Memory for each byte of the file: fields are compressed, and are in memory twice."""


def main(source: str, target: str) -> int:
    """Read one file and write the other.

    Args:
        source: file of a transform, damaged perhaps.
        target: file to write.

    Returns:
        The exit status: 0, or 1 where the file holds no transform.
    """
    limit_own_memory(_MEMORY + _TIMES * Path(source).stat().st_size)
    import SimpleITK as sitk  # noqa: PLC0415 - under the limit

    try:
        sitk.WriteTransform(sitk.ReadTransform(source), target)
    except MemoryError:
        why = "there is not enough memory for what it claims"
    except UnicodeDecodeError:
        why = "it is no text of a transform"
    except RuntimeError:
        why = "ITK refuses it"
    else:
        return 0
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
