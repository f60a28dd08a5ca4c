"""Sound files of every kind that is read, to make mutants from."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from hostile_files import metaimage, nrrd, voxels
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from run_cases import saved_prior

SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
    "jpeg": JPEGBaseline8Bit,
}
_TRANSFORMS = (".tfm", ".h5", ".mat")


def dicom(path: Path, syntax: str, *, frames: int = 4, size: int = 40) -> Path:
    """A multi-frame image without a place in space."""
    eight = syntax == "jpeg"
    data = np.random.default_rng(5).integers(0, 250, (frames, size, size))
    stored = data.astype("u1" if eight else "<u2")
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StudyInstanceUID, dataset.PatientID, dataset.Modality = generate_uid(), "P", "PT"
    dataset.Rows = dataset.Columns = size
    dataset.NumberOfFrames, dataset.SamplesPerPixel = frames, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 if eight else 16
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    plain = syntax in ("implicit", "explicit", "deflated")
    dataset.file_meta.TransferSyntaxUID = (
        SYNTAXES[syntax] if plain or eight else ExplicitVRLittleEndian
    )
    if eight:
        dataset.PixelData = encapsulate([_jpeg(frame) for frame in stored])
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW"
        if not plain:
            dataset.compress(SYNTAXES[syntax], generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _jpeg(frame: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, format="JPEG")
    return out.getvalue()


def _volumes(folder: Path) -> Iterator[Path]:
    image = nib.Nifti1Image(np.frombuffer(voxels(), "<f4").reshape(6, 7, 5), np.eye(4))
    for ending in (".nii", ".nii.gz", ".mgh", ".mgz"):
        path = folder / f"volume{ending}"
        nib.save(
            nib.MGHImage(np.asarray(image.dataobj), np.eye(4)) if ".mg" in ending else image, path
        )
        yield path
    yield metaimage(folder / "volume.mha")
    (folder / "volume.raw").write_bytes(voxels())
    yield metaimage(folder / "volume.mhd", "volume.raw")
    yield nrrd(folder / "volume.nhdr", "data file: volume.raw")
    yield nrrd(folder / "volume.nrrd")
    yield nrrd(folder / "packed.nrrd", data=gzip.compress(voxels()), encoding="gzip")
    packed = sitk.GetImageFromArray(np.frombuffer(voxels(), "<f4").reshape(5, 7, 6))
    sitk.WriteImage(packed, str(folder / "packed.mha"), True)
    yield folder / "packed.mha"
    for syntax in SYNTAXES:
        yield dicom(folder / f"{syntax}.dcm", syntax)


def _pictures(folder: Path) -> Iterator[Path]:
    levels = np.random.default_rng(2).integers(0, 255, (30, 20, 3), np.uint8)
    for name, options in (
        ("color.png", {}), ("color.jpg", {}), ("color.tif", {}),
        ("lzw.tif", {"compression": "tiff_lzw"}), ("deflate.tiff", {"compression": "tiff_deflate"}),
    ):  # fmt: skip
        Image.fromarray(levels).save(folder / name, **options)
        yield folder / name
    Image.fromarray(levels[..., 0].astype(np.uint16) * 200).save(folder / "deep.png")
    yield folder / "deep.png"


def _transforms(folder: Path) -> Iterator[Path]:
    rigid = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    spline = sitk.BSplineTransform(3)
    spline.SetTransformDomainMeshSize((2, 2, 2))
    both = sitk.CompositeTransform([rigid, spline])
    field = sitk.DisplacementFieldTransform(sitk.Image((4, 4, 4), sitk.sitkVectorFloat64))
    made = {"rigid": rigid, "affine": sitk.AffineTransform(3), "spline": spline, "both": both}
    for name, transform in (made | {"field": field}).items():
        for ending in _TRANSFORMS:
            if ending == ".mat" and name in ("both", "field", "spline"):
                continue
            sitk.WriteTransform(transform, str(folder / f"{name}{ending}"))
            yield folder / f"{name}{ending}"


def _documents(folder: Path) -> Iterator[Path]:
    (folder / "pairs.csv").write_text(
        "subject,fixed,moving,modality,session\n01,volume.nii,volume.mha,PET,1\n02,a.nii,b.nii,CT,\n"
    )
    yield folder / "pairs.csv"
    (folder / "landmarks.json").write_text(json.dumps([float(n) for n in range(11)]))
    yield folder / "landmarks.json"
    (folder / "pairs.json").write_text(
        json.dumps({"a": "b", "c": {"image": "d", "modality": "CT"}})
    )
    yield folder / "pairs.json"
    (folder / "profile.yaml").write_text(
        "scheduler: slurm\nworkers: 2\ngpus: 1\noptions:\n  queue: long\n  walltime: '01:00:00'\n"
    )
    yield folder / "profile.yaml"
    prior = saved_prior(folder)
    yield prior
    yield prior.with_suffix(".json")


def all_seeds(folder: Path) -> list[Path]:
    """Write one file of every kind into a folder."""
    makers = (_volumes, _pictures, _transforms, _documents)
    return [path for make in makers for path in make(folder)]


def is_sound(path: Path) -> bool:
    """Whether a DICOM file can be read back, to see that the makers work."""
    return bool(pydicom.dcmread(path).Rows)
