"""DICOM images made for the tests, written by pydicom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

CLASSES = {
    "MR": MRImageStorage,
    "CT": CTImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "NM": NuclearMedicineImageStorage,
    "OT": SecondaryCaptureImageStorage,
}
AXIAL = (1.0, 0, 0, 0, 1, 0)


def oblique(degrees: float = 20.0, about: float = 15.0) -> tuple[float, ...]:
    """Direction cosines of a plane turned about two axes."""
    a, b = np.deg2rad([degrees, about])
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    return (*row, *column)


def image(pixels: np.ndarray, *, modality: str = "MR", **tags: object) -> Dataset:
    """Return an image of [rows, columns(, 3)] or [frames, rows, columns] integers.

    Further tags are set by keyword; None leaves a tag out.
    """
    color = pixels.shape[-1] == 3 and pixels.dtype == np.uint8
    plane = pixels.shape[:-1] if color else pixels.shape
    dataset = Dataset()
    dataset.SOPClassUID = CLASSES[modality]
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = modality
    dataset.PatientID, dataset.PatientName = "P1", "Test^One"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.FrameOfReferenceUID = "1.2.3.5"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = plane[-2:]
    dataset.PixelSpacing = [1.5, 1.25]
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.SamplesPerPixel = 3 if color else 1
    dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if len(plane) == 3:
        dataset.NumberOfFrames = plane[0]
    dataset.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


def write(path: Path, dataset: Dataset) -> Path:
    """Write a dataset as a DICOM file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(
    folder: Path,
    slices: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-20.0, 35.5, 12.0),
    step: Sequence[float] | float = 2.5,
    depths: Sequence[float] | None = None,
    change: Callable[[Dataset, int], None] | None = None,
    **tags: object,
) -> Path:
    """Write [n, rows, columns(, 3)] as a series.

    Args:
        folder: where to write.
        slices: the pixels.
        orientation: direction cosines.
        origin: of the first slice.
        step: from slice to slice, a vector or the distance along the normal.
        depths: distances of all slices from the origin instead, along the normal.
        change: called with each dataset and its number before it is written.
        tags: for every slice.
    """
    orientation = np.array(orientation, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    for k, pixels in enumerate(slices):
        if depths is not None:
            offset = normal * depths[k]
        else:
            offset = k * (normal * step if np.isscalar(step) else np.array(step))
        place = {
            "ImageOrientationPatient": [round(float(v), 9) for v in orientation],
            "ImagePositionPatient": [round(float(v), 6) for v in np.array(origin) + offset],
            "InstanceNumber": k + 1,
        }
        dataset = image(np.ascontiguousarray(pixels), **{**place, **tags})
        if change is not None:
            change(dataset, k)
        # Names in an order that differs from that of the slices.
        write(folder / f"{(k * 7919) % 10007:05d}.dcm", dataset)
    return folder


def item(**tags: object) -> Dataset:
    """Return a dataset for a sequence."""
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(
    path: Path,
    pixels: np.ndarray,
    positions: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    slopes: Sequence[float] | None = None,
    **tags: object,
) -> Path:
    """Write [frames, rows, columns] as an enhanced MR image."""
    dataset = image(pixels, modality="MR", SOPClassUID=EnhancedMRImageStorage)
    del dataset.PixelSpacing, dataset.ImageOrientationPatient
    shared = item(
        PlaneOrientationSequence=[
            item(ImageOrientationPatient=[round(float(v), 9) for v in orientation])
        ],
        PixelMeasuresSequence=[item(PixelSpacing=[1.5, 1.25], SliceThickness=2.0)],
    )
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[
                item(ImagePositionPatient=[round(float(v), 6) for v in position])
            ],
            PixelValueTransformationSequence=[
                item(
                    RescaleSlope=1.0 if slopes is None else slopes[k],
                    RescaleIntercept=0.0,
                    RescaleType="US",
                )
            ],
            FrameContentSequence=[item(FrameAcquisitionNumber=1)],
        )
        for k, position in enumerate(positions)
    ]
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return write(path, dataset)


def nuclear(path: Path, pixels: np.ndarray, **tags: object) -> Path:
    """Write [frames, rows, columns] as reconstructed slices of nuclear medicine."""
    detector = item(
        ImagePositionPatient=[-30.0, -40, 70],
        ImageOrientationPatient=list(AXIAL),
    )
    dataset = image(
        pixels,
        modality="NM",
        **{
            "ImageOrientationPatient": None,
            "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            "DetectorInformationSequence": [detector],
            "SpacingBetweenSlices": 3.0,
            "SliceVector": list(range(1, len(pixels) + 1)),
            **tags,
        },
    )
    return write(path, dataset)


def force(dataset: Dataset, keyword: str, value: str) -> None:
    """Set an element to a string as it might stand in a damaged file, whatever it should hold."""
    raw = value.encode("latin-1")
    raw += b" " * (len(raw) % 2)
    tag = pydicom.tag.Tag(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    if vr == "SQ":
        dataset.pop(tag, None)
        return
    binary = {"US": 2, "US or SS": 2, "FD": 8}.get(vr)
    if binary:
        raw = (raw * 8)[:binary]
        vr = vr.split()[0]
    dataset[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(raw), raw, 0, False, True, True)


def reread(path: Path) -> Dataset:
    """Read a file back to change and write it again."""
    return pydicom.dcmread(path)
