"""Generation and writing of a demo subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from monai_ddfm.apps.demo.anatomy import build_anatomy
from monai_ddfm.apps.demo.body import BODIES, build_body
from monai_ddfm.apps.demo.body_scans import BODY_GRIDS, body_moving, body_mri
from monai_ddfm.apps.demo.dicom import DICOM_FOLDERS, write_series
from monai_ddfm.apps.demo.files import ready_folder, whole_file
from monai_ddfm.apps.demo.modalities import MOVING, Volume, make_moving, make_mri, rigid_truth
from monai_ddfm.errors import InputError

__all__ = ["DemoSubject", "check_heads", "make_demo", "write_demo_dicom", "write_volume"]

_SCALES = (1.0, 4.0)
_COARSEST_MM = 2.0
_BODY_MM, _COARSEST_BODY_MM = 3.0, 6.0
_SUBJECTS = ("head", *BODIES)
_NOTE = b"simulated; research use only - not for diagnosis"


@dataclass(frozen=True)
class DemoSubject:
    """Files of one demo subject.

    Attributes:
        fixed: T1 MRI (T2 of a pelvis), NIfTI, arbitrary units.
        moving: PET (Bq/ml), SPECT (counts) or CT (HU), NIfTI, on its own grid and moved.
        modality: of `moving`: PET, SPECT or CT.
        truth: ITK transform (.tfm, LPS mm) that maps points of `moving` to points of `fixed`. To
            resample `moving` on the grid of `fixed`, ITK needs its inverse.
        seed: of the subject.
        scale: factor on the edges of the voxels.
        subject: head, pelvis or abdomen.
        fixed_dicom: folder of the MRI as a DICOM series, or None.
        moving_dicom: folder of `moving` as DICOM, or None.
    """

    fixed: Path
    moving: Path
    modality: str
    truth: Path
    seed: int
    scale: float
    subject: str = "head"
    fixed_dicom: Path | None = None
    moving_dicom: Path | None = None


def check_heads(modalities: Sequence[str], *, seeds: Sequence[int], scale: float) -> None:
    """Refuse simulated heads that a benchmark cannot be given.

    Args:
        modalities: of the moving volumes; PET, CT and SPECT.
        seeds: of the heads.
        scale: factor on the edges of all voxels, 1 to 4.

    Raises:
        InputError: if a modality is unknown, there is no head, or the scale is out of range.
    """
    for modality in modalities:
        if modality not in MOVING:
            raise InputError(f"modality {modality!r} is unknown; use {', '.join(MOVING)}.")
    if not modalities or not seeds:
        raise InputError("there is no head; name a modality and a seed.")
    if not _SCALES[0] <= scale <= _SCALES[1]:
        raise InputError(f"scale {scale:g} is unusable; give a number from 1 to 4.")


def make_demo(
    output_dir: str | Path,
    *,
    modality: str = "PET",
    seed: int = 0,
    scale: float = 1.0,
    dicom: bool = False,
    subject: str = "head",
) -> DemoSubject:
    """Simulate one head, or a simple trunk, in two scanners and write the images.

    Written are ``t1.nii.gz``, one of ``pet.nii.gz``, ``spect.nii.gz`` and ``ct.nii.gz``, and the
    transform between them, for example ``pet_to_t1_truth.tfm``. The T1 of a seed is the same
    whatever the modality, so several modalities can share a folder. The same arguments give the
    same voxels. The MRI of a trunk is ``mri.nii.gz``, and its transform ``ct_to_mri_truth.tfm``.

    Args:
        output_dir: folder, made where missing.
        modality: PET, CT or SPECT.
        seed: chooses anatomy, lesions, movement and noise; 0 or more.
        scale: factor on the edges of all voxels, 1 to 4. At 1 the T1 has 180 x 216 x 66 voxels and
            takes some ten seconds; at 3 it has 60 x 72 x 22.
        dicom: also write both images as DICOM (`write_demo_dicom`).
        subject: "head", or a sum of a few simple shapes: "pelvis" or "abdomen", of CT or PET.

    Returns:
        The files.

    Raises:
        InputError: unknown subject or modality, seed or scale out of range, nilearn missing, or a
            folder that cannot be written.
    """
    modality = modality.upper()
    if modality not in MOVING:
        raise InputError(f"unknown modality {modality!r} for the demo: use PET, CT or SPECT")
    if subject not in _SUBJECTS:
        raise InputError(f"unknown subject {subject!r} for the demo: use {', '.join(_SUBJECTS)}")
    if subject != "head" and modality not in BODY_GRIDS:
        raise InputError(f"the demo has no {modality} of the {subject}: use CT or PET")
    if seed < 0:
        raise InputError(f"the demo's seed is {seed}: use 0 or a positive whole number")
    if not _SCALES[0] <= scale <= _SCALES[1]:
        raise InputError(f"the demo's scale is {scale}: use a number from 1 to 4")
    folder = Path(output_dir)
    ready_folder(folder)

    fixed, moving, truth = _scans(subject, modality, seed, scale)
    name, mri = modality.lower(), "t1" if subject == "head" else "mri"
    made = DemoSubject(
        fixed=folder / f"{mri}.nii.gz",
        moving=folder / f"{name}.nii.gz",
        modality=modality,
        truth=folder / f"{name}_to_{mri}_truth.tfm",
        seed=seed,
        scale=scale,
        subject=subject,
        fixed_dicom=folder / DICOM_FOLDERS["MR"] if dicom else None,
        moving_dicom=folder / DICOM_FOLDERS[modality] if dicom else None,
    )
    write_volume(fixed, made.fixed)
    write_volume(moving, made.moving)
    with whole_file(made.truth) as path:
        sitk.WriteTransform(truth, str(path))
    if dicom:
        write_demo_dicom(made, folder)
    return made


def _scans(
    subject: str, modality: str, seed: int, scale: float
) -> tuple[Volume, Volume, sitk.Euler3DTransform]:
    """Return the MRI, the other scan, and the transform from points of that one to the MRI's."""
    if subject == "head":
        anatomy = build_anatomy(seed, voxel=min(scale, _COARSEST_MM))
        truth = rigid_truth(seed, modality)
        moving = make_moving(anatomy, modality, seed, scale, truth)
        return make_mri(anatomy, seed, scale), moving, truth
    body = build_body(subject, seed, voxel=min(_BODY_MM * scale, _COARSEST_BODY_MM))
    truth = rigid_truth(seed, modality, BODY_GRIDS[modality].center)
    moving = body_moving(body, modality, seed, scale, truth)
    return body_mri(body, subject, seed, scale), moving, truth


def write_demo_dicom(subject: DemoSubject, output_dir: str | Path) -> tuple[Path, Path]:
    """Write the two images of a demo subject as DICOM.

    The folders are ``dicom_mr`` and one of ``dicom_pet``, ``dicom_ct`` (a file for each slice) and
    ``dicom_nm`` (one multi-frame file).

    Args:
        subject: what `make_demo` returned.
        output_dir: folder, made where missing.

    Returns:
        The two folders, the T1's first.

    Raises:
        InputError: `output_dir` cannot be written, or one of the folders holds other files.
    """
    folder = Path(output_dir)
    ready_folder(folder)
    written = []
    for modality, path in (("MR", subject.fixed), (subject.modality, subject.moving)):
        target = folder / DICOM_FOLDERS[modality]
        volume = _read_nifti(path)
        written.append(
            write_series(
                volume,
                target,
                modality=modality,
                seed=subject.seed,
                scale=subject.scale,
                part=subject.subject,
            )
        )
    return written[0], written[1]


def write_volume(volume: Volume, path: Path) -> None:
    """Write a simulated volume as NIfTI, whole or not at all."""
    image = nib.Nifti1Image(volume.data, volume.affine)
    image.set_qform(volume.affine, code="scanner")
    image.set_sform(volume.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = _NOTE
    with whole_file(path) as temporary:
        nib.save(image, temporary)


def _read_nifti(path: Path) -> Volume:
    image = nib.load(path)
    return Volume(np.asarray(image.dataobj), np.asarray(image.affine))
