"""Every option of a fusion, said once.

An option is a field of one of the groups below. The field's annotation holds all there is to know:
the type, the words it knows (a `Literal`), and an `Option` with the default, the range, the unit,
one line of help, and the faces of the program on which it appears. From these fields come

========================  ========================================================================
the command line          `monai_ddfm.cli.options` makes parameters of them, with completion
Python                    `monai_ddfm.fuse` takes ``**options: Unpack[Options]``, which mypy checks
the label server          `monai_ddfm.apps.label.request` offers and reads them
sentences                 `monai_ddfm.options.names` calls an option as the reader's interface does
the documentation         tables of options, made when the pages are built
========================  ========================================================================

The bundle's configuration has an entry of the same name for each; tests compare the two. An option
is used where the configuration hands it on.

The groups are typed dictionaries, because these are what Python can unpack into a signature. A type
is read like this: its first member is what a text from a command line becomes, ``None`` stands for
an option that is not given, and a `Literal` with other members beside it names words that are
known, not all that is possible. Nothing here imports anything heavy, and annotations are objects,
without ``from __future__``: ``--help`` must stay quick.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, TypedDict

from monai_ddfm.options.fields import Face, Option, read_groups

__all__ = [
    "GROUPS",
    "Appearance",
    "Bids",
    "Case",
    "Likelihood",
    "Options",
    "Output",
    "Patient",
    "PictureOptions",
    "Pictures",
    "Placement",
    "Quantity",
    "Reading",
    "Sampling",
    "all_options",
    "options_of",
]

_STUDY: Final[tuple[Face, ...]] = ("fuse", "cohort")
_SERVED: Final[tuple[Face, ...]] = ("fuse", "cohort", "label")
_PICTURES: Final[tuple[Face, ...]] = ("fuse", "cohort", "fuse-2d")
_PICTURES_SERVED: Final[tuple[Face, ...]] = ("fuse", "cohort", "fuse-2d", "label")
_MACHINE: Final[tuple[Face, ...]] = ("fuse", "cohort", "demo")
_EVERYWHERE: Final[tuple[Face, ...]] = ("fuse", "cohort", "fuse-2d", "demo", "label")


class Case(TypedDict, total=False):
    """What is fused, and where results go."""

    fixed: Annotated[
        Path,
        Option(
            "The MRI: NIfTI, MGH, NRRD, MetaImage or a DICOM folder.",
            default="fixed.nii.gz",
            faces=("fuse",),
            required=True,
            recorded=False,
        ),
    ]
    moving: Annotated[
        Path,
        Option(
            "The CT, PET, SPECT, ultrasound or other MRI of the same patient; or several.",
            default="moving.nii.gz",
            each=True,
            faces=("fuse",),
            required=True,
            recorded=False,
        ),
    ]
    modality: Annotated[
        Literal["CT", "PET", "SPECT", "US", "MR"] | str,
        Option("What moving is.", default="PET", faces=("fuse",), required=True, each=True),
    ]
    name: Annotated[
        str | None,
        Option(
            "What each of several moving volumes is called in names of files.",
            unset="its modality",
            faces=("fuse", "label"),
            each=True,
            recorded=False,
            page="how-to/several-sources.md",
        ),
    ]
    output_dir: Annotated[
        Path,
        Option(
            "Folder for the results; made if need be.",
            short="-o",
            computed="$@bundle_root + '/eval'",
            unset="the bundle's eval",
            faces=("fuse", "demo"),
            required=True,
            recorded=False,
        ),
    ]
    prior: Annotated[
        Path | None,
        Option(
            "Another prior, with its .json beside it.",
            computed="$@bundle_root + '/models/model.pt'",
            unset="the bundle's",
            faces=_PICTURES,
            recorded=False,
            page="how-to/prior.md",
        ),
    ]


class Sampling(TypedDict, total=False):
    """Sampling."""

    preset: Annotated[
        Literal["default", "reference", "paper", "gain", "contrast"] | None,
        Option(
            "Likelihood and sampler: reference as published, paper as printed.",
            default="default",
            faces=_EVERYWHERE,
            common=True,
            page="concepts/presets.md",
        ),
    ]
    speed: Annotated[
        Literal["fast", "balanced", "best"] | None,
        Option(
            "How long the presets default and contrast sample.",
            unset="as the preset",
            faces=("fuse", "cohort", "demo", "label"),
            common=True,
            page="concepts/speed.md",
        ),
    ]
    steps: Annotated[
        int | None,
        Option("Timesteps to visit.", unset="the preset's", least=1, most=1000, faces=_EVERYWHERE),
    ]
    timesteps: Annotated[
        str | Sequence[int] | None,
        Option("Timesteps to visit, instead of steps: ddim25, or counts as in 10,15,20."),
    ]
    start_timestep: Annotated[
        int | None,
        Option("Begin there, from the noised average of the sources.", unset="noise", least=0),
    ]
    early_stop: Annotated[
        float | None,
        Option(
            "A slice is finished when no luminance changes by more in a step.",
            unset="never",
            least=0,
            unit="of the scale from -1 to 1",
        ),
    ]
    planes: Annotated[
        Literal["axial", "three"] | None,
        Option(
            "What the prior looks at: slices alone, or at every step along another axis.",
            default="axial",
            faces=_STUDY,
            page="how-to/noise.md",
        ),
    ]
    noise: Annotated[
        Literal["shared", "independent"] | None,
        Option("The start noise: one for all slices, or one for each.", default="shared"),
    ]
    seed: Annotated[
        int | None,
        Option(
            "Of all noise: same seed, same bytes.",
            default=0,
            least=0,
            most=2**32 - 1,
            faces=_EVERYWHERE,
        ),
    ]
    samples: Annotated[
        int | None,
        Option(
            "Draw noise and registration anew so often; writes how far the results differ.",
            default=1,
            least=1,
            faces=_PICTURES_SERVED,
            page="how-to/uncertainty.md",
        ),
    ]
    eta: Annotated[
        float | None,
        Option(
            "Noise of the steps (DDIM).",
            unset="the preset's, 1 for several samples",
            above=0,
            most=1,
        ),
    ]
    device: Annotated[
        Literal["cpu", "cuda"] | str | None,
        Option(
            "Where to compute, also as cuda:1.",
            computed="$'cuda' if torch.cuda.is_available() else 'cpu'",
            unset="cuda if there is one, else cpu",
            faces=("fuse", "cohort", "fuse-2d", "demo"),
            recorded=False,
            common=True,
        ),
    ]
    amp: Annotated[
        bool | None,
        Option(
            "Run the prior in bfloat16: faster, less exact.",
            default=False,
            faces=("fuse", "cohort", "fuse-2d", "demo"),
        ),
    ]
    compile: Annotated[
        Literal["default", "graphs"] | None,
        Option(
            "Compile the prior, or replay it as CUDA graphs too; slow start, for many volumes.",
            unset="off",
            faces=_MACHINE,
        ),
    ]
    max_memory: Annotated[
        float | None,
        Option(
            "Of the GPU's memory to use.",
            unset="all",
            above=0,
            unit="GiB",
            faces=_MACHINE,
            changes_results=False,
        ),
    ]
    batch_size: Annotated[
        int | Literal["auto"] | None,
        Option(
            "Slices at a time; changes no result.",
            default="auto",
            least=1,
            faces=_MACHINE,
            changes_results=False,
        ),
    ]
    prior_sha256: Annotated[
        str | None, Option("What the prior must hash to.", unset="not compared", recorded=False)
    ]
    resume: Annotated[
        bool | None,
        Option("Take over what a stopped run of the same inputs has finished.", default=True),
    ]
    dry_run: Annotated[
        bool | None,
        Option(
            "Read and check, say what would be done and how long it takes; write nothing.",
            default=False,
            faces=("fuse",),
            common=True,
            recorded=False,
            changes_results=False,
        ),
    ]


class Likelihood(TypedDict, total=False):
    """How the sources are weighed (presets default and contrast)."""

    prior_share: Annotated[
        float | None,
        Option(
            "Share of the prior in the estimate.",
            unset="by the sources' noise",
            least=0,
            most=1,
            faces=_PICTURES_SERVED,
            page="concepts/presets.md",
        ),
    ]
    fidelity: Annotated[
        float | None,
        Option(
            "1: between the sources; less: denoise on purpose; 0: the prior.",
            unset="1",
            least=0,
            most=1,
            faces=_PICTURES_SERVED,
        ),
    ]
    noise_margin: Annotated[
        float | None,
        Option(
            "Leave the range between clearly noisy sources by so much of their noise; 0: never.",
            unset="1, 0 with other presets than default",
            least=0,
            unit="standard deviations",
            faces=_PICTURES_SERVED,
            page="how-to/noise.md",
        ),
    ]
    favor_moving: Annotated[
        float | None,
        Option(
            "Favor bright parts of moving (bone, lesions): to about 5, of contrast to about 30.",
            unset="0",
            faces=_PICTURES_SERVED,
        ),
    ]
    finding: Annotated[
        float | None,
        Option(
            "Gray level of moving, 0 to 1, from which brightness is a finding; none is white.",
            computed="$windows.finding_levels(@modality, @window)",
            unset="that of bone, 250 HU, for a CT in HU",
        ),
    ]
    smooth_across: Annotated[
        float | None,
        Option(
            "Smooth the weight from slice to slice by a Gaussian of this deviation.",
            default=0.0,
            least=0,
            unit="slices",
            faces=_SERVED,
        ),
    ]


class Reading(TypedDict, total=False):
    """What is read."""

    fixed_series: Annotated[
        str | None,
        Option(
            "Which DICOM series of fixed: its description, number or UID.",
            unset="by modality",
            faces=_STUDY,
        ),
    ]
    moving_series: Annotated[
        str | Sequence[str | None] | None,
        Option("Which DICOM series of moving.", unset="by modality", faces=_STUDY, each=True),
    ]
    fixed_frames: Annotated[
        str | int | Sequence[int] | None,
        Option(
            "Which of several frames (echoes) of fixed, counted from 0.",
            unset="must be chosen",
            faces=_SERVED,
        ),
    ]
    moving_frames: Annotated[
        str | int | Sequence[int] | None,
        Option(
            "Time frames of moving to average, as in 2-5,8.",
            unset="all for PET and SPECT",
            faces=_SERVED,
            each=True,
        ),
    ]
    allow_patient_mismatch: Annotated[
        bool | None, Option("Fuse although patient IDs differ.", default=False, faces=_STUDY)
    ]


class Placement(TypedDict, total=False):
    """Grid and registration."""

    spacing: Annotated[
        float | None,
        Option(
            "Fuse on cubes with this edge; results return to the MRI's grid.",
            unset="the MRI's voxels",
            least=0,
            unit="mm",
            faces=_SERVED,
        ),
    ]
    slice_along: Annotated[
        Literal["auto", "axial", "coronal", "sagittal"] | None,
        Option("Plane of the slices; auto follows thick ones.", default="auto", faces=_SERVED),
    ]
    registration: Annotated[
        Literal["rigid", "affine", "deformable", "none"] | str | Path | None,
        Option(
            "How moving is brought onto fixed; or an ITK transform file.",
            default="rigid",
            faces=_SERVED,
            common=True,
            page="how-to/registration.md",
        ),
    ]
    registration_start: Annotated[
        Literal["auto", "headers", "centers"] | None,
        Option(
            "Where the search begins: headers, centers of heads or bodies, or what fits.",
            default="auto",
            faces=_SERVED,
        ),
    ]
    region: Annotated[
        Literal["head", "body", "auto"] | None,
        Option(
            "What is shown: a head, or a body (trunk); auto asks headers and outlines.",
            default="auto",
            faces=_SERVED,
            page="how-to/body.md",
        ),
    ]
    invert_transform: Annotated[
        bool | None,
        Option("The given transform file leads from moving to fixed.", default=False, faces=_STUDY),
    ]


class Appearance(TypedDict, total=False):
    """Gray scale and color."""

    window: Annotated[
        Literal[
            "fusion",
            "body",
            "brain",
            "subdural",
            "stroke",
            "bone",
            "soft_tissue",
            "maximum",
            "cerebellum",
        ]
        | str
        | Sequence[str | None]
        | None,
        Option(
            "Gray scale of moving: by name, as 40/80, 0..10 or 1%..99%.",
            unset="the modality's",
            faces=_SERVED,
            each=True,
            common=True,
            page="how-to/window.md",
        ),
    ]
    reference_mask: Annotated[
        Path | None,
        Option(
            "Mask of the reference region for the window cerebellum, on the grid of either volume.",
            faces=_STUDY,
        ),
    ]
    bias_correction: Annotated[
        bool | None,
        Option("Correct the MRI's shading (N4) before scaling.", default=False, faces=_SERVED),
    ]
    landmarks: Annotated[
        Path | Sequence[float] | None,
        Option(
            "JSON file with the MRI's standard histogram (Nyul): eleven numbers.",
            faces=_STUDY,
            page="concepts/intensity-color.md",
        ),
    ]
    color_table: Annotated[
        Literal[
            "inferno",
            "pet",
            "hot_iron",
            "hot_metal_blue",
            "pet_20_step",
            "viridis",
            "plasma",
            "magma",
            "cividis",
            "turbo",
            "hot",
            "gray",
            "orange",
            "cyan",
            "magenta",
        ]
        | None,
        Option("Colors of PET and SPECT.", default="inferno", faces=_SERVED, common=True),
    ]
    color_style: Annotated[
        Literal["mixed", "ycbcr", "perceptual", "overlay"] | None,
        Option(
            "How PET and SPECT are colored.",
            default="mixed",
            faces=_PICTURES_SERVED,
            common=True,
            page="concepts/intensity-color.md",
        ),
    ]
    bone_tint: Annotated[
        bool | None,
        Option("Tint the bone of a CT; otherwise it stays gray.", default=False, faces=_SERVED),
    ]


class Quantity(TypedDict, total=False):
    """Uptake."""

    recover_moving: Annotated[
        float | Literal["auto", "off"] | None,
        Option(
            "Estimate PET or SPECT without partial volumes, in a file of its own: the scanner's "
            "width (FWHM).",
            default="off",
            above=0,
            most=30,
            unit="mm",
            faces=_STUDY,
            page="how-to/recovery.md",
        ),
    ]


class Patient(TypedDict, total=False):
    """Who the DICOM output is about, for an MRI that does not say."""

    name: Annotated[
        str, Option("DICOM: name, for an MRI without one, as FAMILY^GIVEN.", unset="unknown")
    ]
    id: Annotated[str, Option("DICOM: PatientID, for an MRI without one.", unset="unknown")]
    birth_date: Annotated[
        str, Option("DICOM: date of birth, for an MRI without one, as 1970-12-31.", unset="unknown")
    ]
    sex: Annotated[
        Literal["M", "F", "O"] | str, Option("DICOM: sex, for an MRI without one.", unset="unknown")
    ]


class Bids(TypedDict, total=False):
    """A BIDS derivative."""

    root: Annotated[
        Path | str,
        Option("Copy the volumes into this BIDS derivative, too.", page="how-to/bids.md"),
    ]
    subject: Annotated[str, Option("BIDS label of the subject.", unset="from the file names")]
    session: Annotated[str, Option("BIDS label of the session.", unset="from the file names")]
    tracer: Annotated[str, Option("BIDS label of the tracer.", unset="from the file names")]
    space: Annotated[str, Option("BIDS label of the MRI's space.", unset="T1w")]


class Output(TypedDict, total=False):
    """What is written."""

    format: Annotated[
        Literal["nifti", "dicom", "both", "nrrd"] | None,
        Option(
            "Volumes to write; both are NIfTI and DICOM.",
            default="nifti",
            faces=_STUDY,
            common=True,
        ),
    ]
    deidentify: Annotated[
        bool | None,
        Option(
            "Write nothing that names the patient; faces stay.",
            default=False,
            faces=_STUDY,
            common=True,
            page="how-to/pacs.md",
        ),
    ]
    allow_burned_in: Annotated[
        bool | None,
        Option(
            "De-identify DICOM images that say they have text in their pixels.",
            default=False,
            faces=_STUDY,
        ),
    ]
    deterministic_uids: Annotated[
        bool | None,
        Option(
            "DICOM: the same run gives the same UIDs.",
            default=False,
            faces=_STUDY,
            needs_dicom=True,
        ),
    ]
    patient: Annotated[
        Patient | None,
        Option(
            "For NIfTI input: name, id, birth_date and sex of the DICOM output.",
            faces=("fuse",),
            needs_dicom=True,
        ),
    ]
    series_number: Annotated[
        int | None,
        Option(
            "DICOM: number of the first series written.",
            default=9001,
            least=1,
            faces=("fuse",),
            needs_dicom=True,
        ),
    ]
    push: Annotated[
        str | None,
        Option(
            "Send the DICOM output: AET@host:port or a DICOMweb URL.",
            unset="not sent",
            faces=("fuse",),
            needs_dicom=True,
            page="how-to/pacs.md",
        ),
    ]
    bids: Annotated[
        Bids | None,
        Option(
            "BIDS derivative to copy the volumes into: root, and labels if need be.",
            faces=("fuse",),
            page="how-to/bids.md",
        ),
    ]


class Pictures(TypedDict, total=False):
    """Of pictures only."""

    weight: Annotated[
        bool | None,
        Option(
            "Write the share of the second picture too, as NAME_weight.png.",
            default=False,
            faces=("fuse-2d",),
        ),
    ]


class Options(Sampling, Likelihood, Reading, Placement, Appearance, Quantity, Output, total=False):
    """All options that `monai_ddfm.fuse` takes by name, beside the case itself."""


class PictureOptions(Options, Pictures, total=False):
    """All options that `monai_ddfm.workflow.pictures.fuse_pictures` takes by name."""


GROUPS: Final = (
    Case,
    Sampling,
    Likelihood,
    Reading,
    Placement,
    Appearance,
    Quantity,
    Output,
    Pictures,
)
"""The groups in the order in which they are shown."""


@lru_cache(maxsize=1)
def all_options() -> Mapping[str, Option]:
    """Return every option by name, in the order of the groups."""
    return read_groups(GROUPS)


def options_of(face: Face) -> Mapping[str, Option]:
    """Return the options that appear on a face of the program, by name."""
    return {name: option for name, option in all_options().items() if face in option.faces}
