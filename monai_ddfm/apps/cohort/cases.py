"""What a cohort consists of: pairs of volumes, and what stands in the way of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_ddfm.modalities import Modality

__all__ = ["MRI_SUFFIXES", "Case", "Finding", "Problem", "Selection", "label_of"]

MRI_SUFFIXES = ("T1w", "T2w", "FLAIR")
"""The MRIs that are fused with, the preferred first; each may name the space of the results."""


@dataclass(frozen=True)
class Selection:
    """What of the input is wanted; empty means everything.

    Attributes:
        participants: labels without ``sub-``.
        sessions: labels without ``ses-``.
        modality: of the moving volume.
        tracer: label without ``trc-``.
        mri: suffixes of the MRI, the preferred first.
        fixed_series: DICOM: description, number or UID of the MRI.
        moving_series: DICOM: description, number or UID of the moving volume.
        entities: BIDS: entity and label of the volume to take where a kind has several.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    modality: Modality | None = None
    tracer: str = ""
    mri: tuple[str, ...] = MRI_SUFFIXES
    fixed_series: str = ""
    moving_series: str = ""
    entities: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One fusion to be made.

    Attributes:
        subject: label without ``sub-``.
        session: label without ``ses-``; empty for none.
        tracer: label without ``trc-``; empty for none.
        modality: of the moving volume.
        fixed: the MRI: one file, or the files of a DICOM series.
        moving: the CT, PET or SPECT likewise.
        space: the kind of MRI, which names the space of the results.
        is_dicom: whether the files are DICOM; their paths may then name the patient.
        voxels: of the MRI; 0 if not known.
        notes: what a person should know about the pairing, as clauses.
    """

    subject: str
    modality: Modality
    fixed: tuple[str, ...]
    moving: tuple[str, ...]
    session: str = ""
    tracer: str = ""
    space: str = "MRI"
    is_dicom: bool = False
    voxels: int = 0
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of the case, unique in its cohort and usable as a file name."""
        return label_of(self.subject, self.session, self.tracer, str(self.modality).lower())

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Files by role."""
        return {"fixed": self.fixed, "moving": self.moving}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something of the input cannot be fused.

    Attributes:
        who: the label of the subject, and of the session where there is one.
        sentence: what is wrong and how to mend it.
    """

    who: str
    sentence: str


@dataclass(frozen=True)
class Finding:
    """What was found in an input.

    Attributes:
        kind: "BIDS", "DICOM" or "CSV".
        root: folder of the input.
        cases: what can be fused, sorted by key.
        problems: what cannot.
        notes: remarks about the whole.
        labels: DICOM only: label by patient, which is confidential.
    """

    kind: str
    root: Path
    cases: Sequence[Case]
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()
    labels: dict[str, str] = field(default_factory=dict)


def label_of(subject: str, session: str = "", tracer: str = "", suffix: str = "") -> str:
    """Return the BIDS label of these entities, for example ``sub-01_ses-02_trc-FDG_pet``."""
    entities = (("sub", subject), ("ses", session), ("trc", tracer))
    return "_".join(
        [*(f"{name}-{value}" for name, value in entities if value), *([suffix] * bool(suffix))]
    )
