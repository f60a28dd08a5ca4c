"""The demo images as DICOM: MR, CT and PET slice by slice, SPECT as one multi-frame NM object.

Geometry (PS3.3 C.7.6.2): with the affine A from voxel index to LPS mm, slice k has

    ImagePositionPatient = A (0, 0, k, 1),   SliceThickness = length of column 3,
    ImageOrientationPatient = directions of columns 1 and 2,
    PixelSpacing = lengths of columns 2 and 1 of A.

Stored values: MR and NM rounded to whole units, CT with intercept -1024, PET with a slope of its
own for every slice, as scanners do. PET carries what the body-weight SUV needs,

    SUV = value [Bq/ml] * weight [g] / (dose [Bq] * 2^(-(series time - injection) / half-life)).
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from monai_ddfm.apps.demo.dicom_tags import (
    DATE,
    INJECTED,
    SCANNED,
    WRITTEN,
    modality_tags,
    update,
)
from monai_ddfm.apps.demo.files import whole_folder
from monai_ddfm.apps.demo.modalities import Volume
from monai_ddfm.modalities import ROWS
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.version import __version__

__all__ = ["DICOM_FOLDERS", "write_series"]

_SIMULATED = {True: "Simulated from the ICBM 152 template", False: "A sum of simple shapes"}
DICOM_FOLDERS = {"MR": "dicom_mr", "PET": "dicom_pet", "CT": "dicom_ct", "SPECT": "dicom_nm"}


def write_series(
    volume: Volume,
    folder: Path,
    *,
    modality: str,
    seed: int,
    scale: float,
    part: str = "head",
) -> Path:
    """Write one series; the folder appears whole or not at all.

    Args:
        volume: the image [X, Y, Z] with its affine in RAS mm.
        folder: gets one file for each slice, or one in all for SPECT.
        modality: MR, PET, CT or SPECT.
        seed: with `scale`, names the subject: all UIDs follow from the two. Series of one subject
            share the study; each has a frame of reference of its own.
        scale: see `seed`.
        part: of the body: head, pelvis or abdomen.

    Returns:
        `folder`.

    Raises:
        InputError: `folder` holds other files.
    """
    name = f"{seed}/{scale:g}" if part == "head" else f"{part}/{seed}/{scale:g}"
    with whole_folder(folder, ".dcm") as temporary:
        slices = range(volume.data.shape[2])
        frames = [slice(None)] if modality == "SPECT" else [slice(k, k + 1) for k in slices]
        for number, chosen in enumerate(frames, start=1):
            dataset = _common(modality, name, number, part)
            update(dataset, modality_tags(modality))
            first = chosen.start or 0
            pixels = _pixels(dataset, volume.data[:, :, chosen].T, modality)
            _geometry(dataset, volume.affine, first, pixels, modality)
            if modality == "PET":
                dataset.NumberOfSlices, dataset.ImageIndex = len(slices), number
            dataset.save_as(temporary / f"IM{number:04d}.dcm", enforce_file_format=True)
    return folder


def _uid(*parts: str) -> uid.UID:
    """Return a UID that follows from its parts and our version alone (PS3.5 B.2: 2.25, UUID)."""
    name = "/".join(("monai-ddfm demo", __version__, *parts))
    return uid.UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")


def _common(modality: str, name: str, number: int, part: str) -> FileDataset:
    """Patient, study, series, frame of reference, equipment and SOP common modules."""
    sop = _uid(name, modality, "instance", str(number))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UID(ROWS[modality].sop_class)
    meta.MediaStorageSOPInstanceUID = sop
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    tags = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": uid.UID(ROWS[modality].sop_class),
        "SOPInstanceUID": sop,
        "InstanceCreationDate": DATE,
        "InstanceCreationTime": WRITTEN,
        "PatientName": "DEMO^SUBJECT",
        "PatientID": "DDFM-DEMO",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "PatientWeight": 70.0,
        "PatientSize": 1.75,
        "PatientComments": f"{_SIMULATED[part == 'head']}; {NOTICE}",
        "StudyInstanceUID": _uid(name, "study"),
        "StudyDate": DATE,
        "StudyTime": INJECTED,
        "StudyID": "DEMO",
        "StudyDescription": f"Demo {part}, {NOTICE}",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": ROWS[modality].codes[0],
        "SeriesInstanceUID": _uid(name, modality, "series"),
        "SeriesNumber": 1 + list(ROWS).index(modality),
        "SeriesDate": DATE,
        "SeriesTime": SCANNED,
        "SeriesDescription": f"Demo {ROWS[modality].demo}, {NOTICE}",
        "BodyPartExamined": part.upper(),
        "FrameOfReferenceUID": _uid(name, modality, "frame of reference"),
        "PositionReferenceIndicator": "",
        "Manufacturer": "monai_ddfm demo subject",
        "ManufacturerModelName": "simulation",
        "SoftwareVersions": "demo",
        "AcquisitionDate": DATE,
        "AcquisitionTime": SCANNED,
        "ContentDate": DATE,
        "ContentTime": WRITTEN,
        "AcquisitionNumber": 1,
        "InstanceNumber": number,
        "ImageComments": NOTICE,
        "BurnedInAnnotation": "NO",
    }
    update(dataset, tags)
    return dataset


def _pixels(dataset: Dataset, values: NDArray[Any], modality: str) -> NDArray[np.uint16]:
    """Store the values [frames, rows, columns] as 16-bit numbers."""
    slope, intercept = 1.0, 0.0
    if modality == "CT":
        intercept = -1024.0
    elif modality == "PET":
        # A decimal string has 16 characters at most: take the slope that can be written.
        slope = float(f"{max(float(values.max()), 1e-3) / 32767.0:.9e}")
    stored = np.rint((values.astype(np.float64) - intercept) / slope)
    pixels = np.clip(stored, 0, 65535).astype("<u2")
    if modality in {"CT", "PET"}:
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.9e}", f"{intercept:g}"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    return pixels


def _geometry(
    dataset: Dataset, affine: NDArray[np.float64], first: int, pixels: NDArray[Any], modality: str
) -> None:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / spacing
    position = [round(float(v), 6) for v in (lps @ (0, 0, first, 1))[:3]]
    orientation = [round(float(v), 9) for v in axes[:, :2].T.ravel()]
    dataset.PixelSpacing = [round(float(spacing[1]), 6), round(float(spacing[0]), 6)]
    dataset.SliceThickness = round(float(spacing[2]), 6)
    if modality != "SPECT":
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = position, orientation
        return
    # PS3.3 C.8.4.15: the sign says on which side of the first slice the others are stacked.
    side = np.sign(np.cross(axes[:, 0], axes[:, 1]) @ axes[:, 2])
    dataset.SpacingBetweenSlices = round(float(side * spacing[2]), 6)
    dataset.NumberOfFrames = dataset.NumberOfSlices = len(pixels)
    dataset.SliceVector = list(range(1, len(pixels) + 1))
    detector = dataset.DetectorInformationSequence[0]
    detector.ImagePositionPatient, detector.ImageOrientationPatient = position, orientation
