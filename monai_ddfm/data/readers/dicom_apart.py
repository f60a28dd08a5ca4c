"""Decompressed frames from a process of its own.

The libraries that decompress JPEG and its relatives end the whole process on some damaged frames.
So compressed frames are decompressed elsewhere: one process for a series, which is asked frame by
frame and answers with the values (`monai_ddfm.data.readers.dicom_child`). Its death is a sentence
about the file that it was at.

A request is a line of JSON, ``{"path": ..., "index": ...}``. The answer is a line of JSON, with
``dtype`` and ``shape`` before the bytes of the values, or with ``error``, a sentence.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from monai_ddfm.data.readers.tags import text
from monai_ddfm.errors import InputError

__all__ = ["ApartDecoder", "is_compressed"]

_CHILD = "monai_ddfm.data.readers.dicom_child"
_MOST_SECONDS = 60.0


def is_compressed(header: Dataset) -> bool:
    """Whether the frames of an image are compressed one by one."""
    syntax = UID(text(getattr(header, "file_meta", None), "TransferSyntaxUID"))
    return bool(syntax.is_transfer_syntax and syntax.is_encapsulated)


class ApartDecoder:
    """Asks the process for frames; it is started for the first one, and ends with this object."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, path: Path, index: int) -> npt.NDArray[Any]:
        """Decompress one frame.

        Args:
            path: the file.
            index: the frame, from 0.

        Returns:
            As `monai_ddfm.data.readers.dicom_pixels.decode`.

        Raises:
            InputError: it cannot be decompressed.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(_MOST_SECONDS, process.kill)
        clock.start()
        try:
            request = {"path": str(path.absolute()), "index": index}
            process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if "error" in answer:
                raise InputError(answer["error"])
            return _received(process.stdout, answer)
        except (OSError, EOFError, json.JSONDecodeError) as error:
            self._process = None
            raise InputError(
                f"the pixels of {path} cannot be decoded (the library that does it crashes or "
                "takes too long); fetch the file again or convert it to an uncompressed one."
            ) from error
        finally:
            clock.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # -P: see `monai_ddfm.utils.apart`.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, self._process)
        return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()


def _received(stream: IO[bytes], about: dict[str, Any]) -> npt.NDArray[Any]:
    values = np.empty(about["shape"], dtype=about["dtype"])
    view = values.data.cast("B")
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
    return values
