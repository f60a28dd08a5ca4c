"""From disk to checked volumes, and from a fusion to files: readers, writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.utils.lazy import lazily

if TYPE_CHECKING:
    from monai_ddfm.data.readers import (
        PICTURE_SUFFIXES,
        Volume,
        read_noted_picture,
        read_picture,
        read_volume,
    )
    from monai_ddfm.data.transform_files import read_transform, write_transform
    from monai_ddfm.data.writers import (
        CheckBoundd,
        ClearWorkd,
        MarkStage,
        RunRecord,
        SaveFusionOutputsd,
        WorkFolder,
        collect_provenance,
        excess_over_sources,
        write_nifti,
    )
    from monai_ddfm.data.writers.bids_output import SaveBidsD, SaveBidsd, SaveBidsDict
    from monai_ddfm.data.writers.dicom import SaveFusionDicomd
    from monai_ddfm.data.writers.pictures import SavePictureD, SavePictured, SavePictureDict

__all__ = [
    "PICTURE_SUFFIXES",
    "CheckBoundd",
    "ClearWorkd",
    "MarkStage",
    "RunRecord",
    "SaveBidsD",
    "SaveBidsDict",
    "SaveBidsd",
    "SaveFusionDicomd",
    "SaveFusionOutputsd",
    "SavePictureD",
    "SavePictureDict",
    "SavePictured",
    "Volume",
    "WorkFolder",
    "collect_provenance",
    "excess_over_sources",
    "read_noted_picture",
    "read_picture",
    "read_transform",
    "read_volume",
    "write_nifti",
    "write_transform",
]

__getattr__ = lazily(
    __name__,
    {
        "readers": (
            "PICTURE_SUFFIXES",
            "Volume",
            "read_noted_picture",
            "read_picture",
            "read_volume",
        ),
        "transform_files": ("read_transform", "write_transform"),
        "writers": (
            "CheckBoundd",
            "ClearWorkd",
            "MarkStage",
            "RunRecord",
            "SaveFusionOutputsd",
            "WorkFolder",
            "collect_provenance",
            "excess_over_sources",
            "write_nifti",
        ),
        "writers.bids_output": ("SaveBidsD", "SaveBidsDict", "SaveBidsd"),
        "writers.dicom": ("SaveFusionDicomd",),
        "writers.pictures": ("SavePictureD", "SavePictureDict", "SavePictured"),
    },
)
