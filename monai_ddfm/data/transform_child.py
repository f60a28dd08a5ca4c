"""Rewrites a transform file in a process of its own; see `monai_ddfm.utils.apart`.

ITK and HDF5 crash on damaged transform files. Here a crash harms nobody, and what comes out is a
file that ITK itself has written from a transform that it has understood.

``python -m monai_ddfm.data.transform_child SOURCE TARGET``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_ddfm.data.transform_claims import MiscountError, check_count
from monai_ddfm.utils.apart import limit_own_memory

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
        transform = sitk.ReadTransform(source).Downcast()
        for one in _parts(transform):
            check_count(one.GetName(), len(one.GetParameters()))
        sitk.WriteTransform(transform, target)
    except MiscountError as error:
        why = str(error)
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


def _parts(transform: Any) -> Iterator[Any]:
    """Yield the simple transforms that a transform is made of."""
    if not hasattr(transform, "GetNthTransform"):
        yield transform
        return
    for number in range(transform.GetNumberOfTransforms()):
        yield from _parts(transform.GetNthTransform(number).Downcast())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
