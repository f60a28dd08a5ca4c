"""Options of the commands, and how their text is read.

An option is an annotated type; a command takes it by naming the type. Most have the name of an
entry of the configuration, `bundles/ddfm_medical_fusion/configs/inference.json`, with dashes.
Nothing here may import PyTorch: ``--help`` must stay quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ddfm.errors import InputError

__all__ = ["NOTICE", "parse_batch_size", "parse_path"]

NOTICE = "research use only - not for diagnosis"


def parse_path(text: str) -> Path:
    """Read a path; an empty one would silently be the present folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty, give a path")
    return Path(text)


def parse_batch_size(text: str) -> int | str:
    """Read a number of slices, or the word auto.

    Raises:
        InputError: if it is neither.
    """
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"batch size {text!r} is unusable; give a number or auto.") from None


def _path(text: str, *names: str, panel: str | None = None) -> Any:
    return typer.Option(*names, parser=parse_path, metavar="PATH", help=text, rich_help_panel=panel)


def _option(text: str, *names: str, panel: str | None = None) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


# --- of every command that fuses

OutputDir = Annotated[Path, _path("Folder for the results; made if need be.", "--output-dir", "-o")]
Preset = Annotated[
    str | None, _option("default, contrast, gain, reference (as published) or paper (as printed).")
]
Steps = Annotated[int | None, _option("Sampling steps; the preset's if not given.")]
Speed = Annotated[
    str | None, _option("fast, balanced or best: how long the default preset samples.")
]
Seed = Annotated[int, _option("Of all noise: same seed, same bytes.")]
Samples = Annotated[
    int, _option("Fuse so often with other noise; writes how much the results differ.")
]
Device = Annotated[str | None, _option("cpu, cuda, cuda:1; the best there is if not given.")]
BatchSize = Annotated[str, _option("Slices at a time, or auto; changes no result.")]
Amp = Annotated[bool, _option("Run the prior in bfloat16: faster, less exact.", "--amp")]
Compile = Annotated[
    str | None, _option("default or graphs: compile the prior; slow start, for many volumes.")
]
MaxMemory = Annotated[float | None, _option("GiB of the GPU to use; all if not given.")]
Prior = Annotated[Path | None, _path("Another prior, with its .json beside it.")]

# --- likelihood

_CHOICE = "How the sources are weighed (preset default)"
PriorShare = Annotated[
    float | None,
    _option("Share of the prior, 0 to 1; by the sources' noise if not given.", panel=_CHOICE),
]
Fidelity = Annotated[
    float | None,
    _option("1: between the sources; less: denoise on purpose; 0: the prior.", panel=_CHOICE),
]
NoiseMargin = Annotated[
    float | None,
    _option("Leave that range by so many deviations of the sources' noise: 2.", panel=_CHOICE),
]
FavorMoving = Annotated[
    float | None,
    _option("Favor bright parts of --moving (bone, lesions): 0 to about 30.", panel=_CHOICE),
]
SmoothAcross = Annotated[
    float | None,
    _option("Smooth the weight across slices, by so many slices.", panel=_CHOICE),
]

# --- what is read

_READING = "What is read"
Fixed = Annotated[Path, _path("The MRI: NIfTI, NRRD, MHA or a DICOM folder.")]
Moving = Annotated[Path, _path("The CT, PET or SPECT of the same patient.")]
Modality = Annotated[str, _option("What --moving is: CT, PET or SPECT.")]
DemoModality = Annotated[str, _option("CT, PET or SPECT; IR for pictures.")]
FixedSeries = Annotated[
    str | None,
    _option("Which DICOM series of --fixed: its description, number or UID.", panel=_READING),
]
MovingSeries = Annotated[str | None, _option("Which DICOM series of --moving.", panel=_READING)]
FixedFrames = Annotated[
    str | None,
    _option("Which of several frames (echoes) of --fixed, counted from 0.", panel=_READING),
]
MovingFrames = Annotated[
    str | None,
    _option("Time frames of --moving to average, as in 2-5,8; all if not given.", panel=_READING),
]
AllowPatientMismatch = Annotated[
    bool,
    _option("Fuse although patient IDs differ.", "--allow-patient-mismatch", panel=_READING),
]

# --- grid and registration

_PLACE = "Grid and registration"
Spacing = Annotated[
    float | None,
    _option("Fuse on cubes with this edge in mm; results return to the MRI's grid.", panel=_PLACE),
]
SliceAlong = Annotated[
    str | None,
    _option("Plane of the slices: axial, coronal, sagittal or auto.", panel=_PLACE),
]
Registration = Annotated[
    str | None,
    _option("rigid, affine, deformable, none, or an ITK transform file.", panel=_PLACE),
]
RegistrationStart = Annotated[
    str | None,
    _option("Where to begin: headers, centers (of the heads) or auto.", panel=_PLACE),
]
InvertTransform = Annotated[
    bool,
    _option(
        "The given transform file leads from moving to fixed.", "--invert-transform", panel=_PLACE
    ),
]

# --- gray scale and color

_GRAY = "Gray scale and color"
Window = Annotated[
    str | None,
    _option("Of --moving: a CT window (brain, bone, 40/80), 0..10 or 1%..99%.", panel=_GRAY),
]
ReferenceMask = Annotated[
    Path | None, _path("Mask of the reference region for --window cerebellum.", panel=_GRAY)
]
BiasCorrection = Annotated[
    bool, _option("Correct the MRI's shading (N4).", "--bias-correction", panel=_GRAY)
]
Landmarks = Annotated[
    Path | None, _path("JSON file with the MRI's standard histogram (Nyul).", panel=_GRAY)
]
ColorTable = Annotated[
    str | None, _option("For PET and SPECT: inferno, hot_iron, pet, ...", panel=_GRAY)
]
ColorStyle = Annotated[
    str | None,
    _option("How PET and SPECT are colored: ycbcr, perceptual or overlay.", panel=_GRAY),
]
BoneTint = Annotated[
    bool, _option("Tint the bone of a CT; otherwise it stays gray.", "--bone-tint", panel=_GRAY)
]

# --- what is written

_WRITING = "What is written"
Format = Annotated[str, _option("nifti, dicom or both.", "--format", panel=_WRITING)]
Deidentify = Annotated[
    bool,
    _option("Write nothing that names the patient; faces stay.", "--deidentify", panel=_WRITING),
]
AllowBurnedIn = Annotated[
    bool,
    _option("De-identify images with text in their pixels.", "--allow-burned-in", panel=_WRITING),
]
DeterministicUids = Annotated[
    bool,
    _option("DICOM: the same run gives the same UIDs.", "--deterministic-uids", panel=_WRITING),
]
PatientName = Annotated[
    str | None, _option("DICOM: for an MRI without one, as FAMILY^GIVEN.", panel=_WRITING)
]
PatientId = Annotated[str | None, _option("DICOM: for an MRI without one.", panel=_WRITING)]
PatientBirthDate = Annotated[
    str | None, _option("DICOM: for an MRI without one, as 1970-12-31.", panel=_WRITING)
]
PatientSex = Annotated[
    str | None, _option("DICOM: for an MRI without one: M, F or O.", panel=_WRITING)
]
SeriesNumber = Annotated[
    int | None, _option("DICOM: number of the first series written.", panel=_WRITING)
]
Push = Annotated[
    str | None,
    _option("Send the DICOM output: AET@host:port or a DICOMweb URL.", panel=_WRITING),
]
BidsRoot = Annotated[
    Path | None, _path("Copy the volumes into this BIDS derivative, too.", panel=_WRITING)
]
BidsSubject = Annotated[
    str | None, _option("BIDS label; from the file names if not given.", panel=_WRITING)
]
BidsSession = Annotated[
    str | None, _option("BIDS label; from the file names if not given.", panel=_WRITING)
]
BidsTracer = Annotated[
    str | None, _option("BIDS label; from the file names if not given.", panel=_WRITING)
]
BidsSpace = Annotated[
    str | None, _option("BIDS label of the MRI's space; T1w if not given.", panel=_WRITING)
]
