"""What a cohort consists of: volumes to be fused, and what stands in the way of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source, names_of

__all__ = ["MRI_SUFFIXES", "Case", "Finding", "Further", "Problem", "Selection", "label_of"]

MRI_SUFFIXES = ("T1w", "T2w", "FLAIR")
"""The MRIs that are fused with, the preferred first; each may name the space of the results."""


@dataclass(frozen=True)
class Selection:
    """What of the input is wanted; empty means everything.

    Attributes:
        participants: labels without ``sub-``.
        sessions: labels without ``ses-``.
        modalities: of the moving volumes; several of a subject are fused together.
        tracer: label without ``trc-``.
        mri: suffixes of the MRI, the preferred first.
        fixed_series: DICOM: description, number or UID of the MRI.
        moving_series: DICOM: description, number or UID of the moving volume.
        entities: BIDS: entity and label of the volume to take where a kind has several.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    modalities: tuple[Modality, ...] = ()
    tracer: str = ""
    mri: tuple[str, ...] = MRI_SUFFIXES
    fixed_series: str = ""
    moving_series: str = ""
    entities: tuple[tuple[str, str], ...] = ()

    def takes(self, modality: Modality, tracer: str) -> bool:
        """Whether a moving volume is wanted; beside others, one without any tracer is."""
        if self.modalities and modality not in self.modalities:
            return False
        is_beside = len(self.modalities) > 1 and not tracer
        return is_beside or self.tracer in ("", tracer)


@dataclass(frozen=True, slots=True)
class Further:
    """A second moving volume of a case, a third, and so on.

    Attributes:
        modality: of the volume.
        files: one file, or those of a DICOM series.
    """

    modality: Modality
    files: tuple[str, ...]


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
        further: moving volumes that are fused together with the first one.
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
    further: tuple[Further, ...] = ()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those of all moving volumes."""
        return (self.modality, *(one.modality for one in self.further))

    @property
    def title(self) -> str:
        """What people read of the moving volumes: ``PET``, or ``PET + CT``."""
        return " + ".join(map(str, self.modalities))

    @property
    def suffix(self) -> str:
        """What ends the names of the results: ``pet``, or ``petct``."""
        return "".join(kind.lower() for kind in self.modalities)

    @property
    def key(self) -> str:
        """The name of the case, unique in its cohort and usable as a file name."""
        return label_of(self.subject, self.session, self.tracer, self.suffix)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The records of the moving volumes."""
        if not self.further:
            return (Source(modality=self.modality),)
        names = names_of(self.modalities)
        pairs = zip(self.modalities, names, strict=True)
        return tuple(Source(modality=kind, name=name) for kind, name in pairs)

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Files by role: ``fixed``, and ``moving`` or one for each of several."""
        every = (self.moving, *(one.files for one in self.further))
        moving = zip((source.key for source in self.sources), every, strict=True)
        return {"fixed": self.fixed, **dict(moving)}


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
