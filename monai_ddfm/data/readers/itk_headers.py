"""The checked header of a file that ITK will read, by the ending of its name."""

from __future__ import annotations

from pathlib import Path

from monai_ddfm.data.readers.metaimage_header import read_metaimage_header
from monai_ddfm.data.readers.nrrd_header import read_nrrd_header
from monai_ddfm.data.readers.stored_header import StoredHeader
from monai_ddfm.errors import InputError

__all__ = ["read_itk_header"]


def read_itk_header(path: Path, *, alone: bool = False) -> StoredHeader:
    """Read and check the header of an NRRD or MetaImage file.

    Args:
        path: the file.
        alone: whether the voxels must be in the same file, as for files from strangers.

    Returns:
        What it claims.

    Raises:
        InputError: it cannot be read, is no such header, or names a file that it must not.
    """
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    try:
        return (read_nrrd_header if nrrd else read_metaimage_header)(path, alone=alone)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check it.") from error
