r"""The registration as an object of its own, from which a viewer lays the untouched `moving` over.

With T, which maps points of the MRI to points of `moving` (LPS mm), a Spatial Registration (PS3.3
C.20.2) holds for the frame of reference of `moving` the matrix that leads into that of the MRI,

    M = T^-1,

stored row by row. A T that is not linear becomes a Deformable Spatial Registration (C.20.3), which
goes the other way: on a regular grid of points p in the MRI's frame it holds T(p) - p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.data.writers.dicom.context import Context, referenced_series
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.transform import map_points
from monai_ddfm.data.writers.dicom.values import code, decimals, item, update
from monai_ddfm.utils.files import NOTICE

__all__ = ["registration_object"]

_METHODS = {
    "rigid": code("125024", "DCM", "Image Content-based Alignment"),
    "affine": code("125024", "DCM", "Image Content-based Alignment"),
    "deformable": code("125024", "DCM", "Image Content-based Alignment"),
    "none": code("125021", "DCM", "Frame of Reference Identity"),
}
_RIGID = 1e-6
_FIELD_STEP_MM = 5.0
_MARGIN_MM = 10.0


def registration_object(
    context: Context,
    transform: Any,
    *,
    method: str,
    fixed: Sequence[ImageReference],
    moving: Sequence[ImageReference],
    shape: tuple[int, int],
) -> FileDataset:
    """Make the registration object.

    Args:
        context: of the run; its `moving` has a frame of reference.
        transform: `SimpleITK.Transform` from points of the MRI to points of `moving`, LPS mm.
        method: as the report of the registration names it.
        fixed: the images of the MRI.
        moving: the source images of `moving`.
        shape: rows and columns of a slice.
    """
    matrix = transform_matrix(transform) if transform.IsLinear() else None
    sop_class = (
        DeformableSpatialRegistrationStorage if matrix is None else SpatialRegistrationStorage
    )
    dataset = context.new("registration", 1, sop_class=sop_class, modality="REG")
    update(
        dataset,
        {
            "ContentLabel": "REGISTRATION",
            "ContentDescription": f"{context.title} to MR; {NOTICE}",
            "ContentCreatorName": None,
        },
    )
    kind = [_METHODS[method]] if method in _METHODS else []
    to_moving = _images(moving)
    frame = context.moving.frame_of_reference if context.moving is not None else ""
    if matrix is None:
        dataset.DeformableRegistrationSequence = [
            item(
                SourceFrameOfReferenceUID=frame,
                ReferencedImageSequence=to_moving,
                RegistrationTypeCodeSequence=kind,
                DeformableRegistrationGridSequence=[_field(context, transform, shape)],
            )
        ]
    else:
        inverse = np.linalg.inv(matrix)
        own = _matrix_item(np.eye(4), [_METHODS["none"]])
        dataset.RegistrationSequence = [
            item(
                FrameOfReferenceUID=context.frame_of_reference,
                ReferencedImageSequence=_images(fixed),
                MatrixRegistrationSequence=[own],
            ),
            item(
                FrameOfReferenceUID=frame,
                ReferencedImageSequence=to_moving,
                MatrixRegistrationSequence=[_matrix_item(inverse, kind)],
            ),
        ]
    update(dataset, referenced_series([*fixed, *moving], dataset.StudyInstanceUID))
    return dataset


def _images(references: Sequence[ImageReference]) -> list[Dataset]:
    """Return items for whole images: frames of one image count as one."""
    unique = {reference.uid: reference for reference in references}
    return [
        item(ReferencedSOPClassUID=r.sop_class, ReferencedSOPInstanceUID=r.uid)
        for r in unique.values()
    ]


def _matrix_item(matrix: NDArray[Any], kind: list[Dataset]) -> Dataset:
    turn = matrix[:3, :3]
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=_RIGID) and np.linalg.det(turn) > 0
    one = item(
        FrameOfReferenceTransformationMatrixType="RIGID" if rigid else "AFFINE",
        FrameOfReferenceTransformationMatrix=decimals(matrix.ravel()),
    )
    return item(RegistrationTypeCodeSequence=kind, MatrixSequence=[one])


def _field(context: Context, transform: Any, shape: tuple[int, int]) -> Dataset:
    """Return the displacements on a grid along the slices that holds the whole volume."""
    grid = context.grid
    normal = np.cross(grid.row, grid.column)
    axes = np.stack([grid.row, grid.column, normal])
    extent = np.array(
        [
            (shape[1] - 1) * grid.spacing[1],
            (shape[0] - 1) * grid.spacing[0],
            float((grid.positions[-1] - grid.positions[0]) @ normal),
        ]
    )
    corner = grid.positions[0] - _MARGIN_MM * axes.sum(axis=0)
    counts = np.ceil((extent + 2 * _MARGIN_MM) / _FIELD_STEP_MM).astype(int) + 1
    steps = [np.arange(count) * _FIELD_STEP_MM for count in counts]
    # The first dimension varies fastest.
    z, y, x = np.meshgrid(steps[2], steps[1], steps[0], indexing="ij")
    points = corner + np.stack([x, y, z], axis=-1).reshape(-1, 3) @ axes
    moves = map_points(transform, points) - points
    return item(
        ImageOrientationPatient=decimals(grid.orientation),
        ImagePositionPatient=decimals(corner),
        GridDimensions=counts.tolist(),
        GridResolution=[_FIELD_STEP_MM] * 3,
        VectorGridData=moves.astype("<f4").tobytes(),
    )
