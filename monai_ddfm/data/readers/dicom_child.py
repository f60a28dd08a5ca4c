"""Decompresses DICOM frames for `monai_ddfm.data.readers.dicom_apart`, in a process of its own.

``python -m monai_ddfm.data.readers.dicom_child`` serves requests until its input ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.dicom_claims import check_frame_sizes
from monai_ddfm.data.readers.dicom_files import read_dataset
from monai_ddfm.data.readers.dicom_pixels import decode
from monai_ddfm.errors import InputError
from monai_ddfm.utils.apart import limit_own_memory

__all__ = ["main"]

_MEMORY = 4 * 2**30


def main() -> None:
    """Serve requests until the input ends."""
    limit_own_memory(_MEMORY)
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    last, dataset = None, Dataset()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        path = Path(request["path"])
        try:
            if path != last:
                dataset, last = read_dataset(path, pixels=True), path
                check_frame_sizes(dataset, path)
            values = np.ascontiguousarray(decode(dataset, path, request["index"]))
        except InputError as error:
            answers.write(json.dumps({"error": str(error)}).encode("ascii") + b"\n")
        else:
            about = {"dtype": values.dtype.str, "shape": values.shape}
            answers.write(json.dumps(about).encode("ascii") + b"\n")
            answers.write(values.data.cast("B"))
        answers.flush()


if __name__ == "__main__":
    main()
