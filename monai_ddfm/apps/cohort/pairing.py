"""Which MRI belongs to which moving volume of a subject.

A moving volume is paired with the MRI of its own session. Where that session has none but another
one session of the subject does, that MRI is taken, and the plan says so. T1w is preferred to T2w to
FLAIR, or what the user prefers. Nothing is guessed: where two volumes of a kind remain, the case is
left out and the plan says how to choose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monai_ddfm.apps.cohort.cases import Case, Problem, Selection, label_of
from monai_ddfm.modalities import Modality

__all__ = ["Candidate", "pair"]

_NAMED = 4
_UNNAMED = "MRI"  # DICOM does not say whether it is T1-weighted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A volume that may be part of a case.

    Attributes:
        session: label; empty for none.
        kind: suffix of an MRI ("T1w"), or the modality of a moving volume ("PET").
        files: that make it up.
        name: how the plan calls it.
        tracer: label; empty for none.
        voxels: 0 if not known.
    """

    session: str
    kind: str
    files: tuple[str, ...]
    name: str
    tracer: str = ""
    voxels: int = 0


def pair(
    subject: str,
    candidates: Sequence[Candidate],
    selection: Selection,
    *,
    is_dicom: bool = False,
    choose: str,
) -> tuple[list[Case], list[Problem], list[str]]:
    """Pair the volumes of one subject.

    Args:
        subject: label without ``sub-``.
        candidates: its volumes.
        selection: what is wanted.
        is_dicom: whether the volumes are DICOM series.
        choose: how to choose among several volumes of a kind, for the sentences.

    Returns:
        Cases, problems, and remarks on what is left out because there is nothing to fuse.
    """
    mris, movings = _split(candidates, selection)
    if not movings:
        wanted = " or ".join(selection.modalities) or "CT, PET or SPECT"
        return [], [], [f"sub-{subject} has no {wanted} and is left out"]
    cases, problems = [], []
    for (session, kind), found in sorted(movings.items()):
        who = label_of(subject, session)
        if len(found) > 1:
            problems.append(
                Problem(who, f"has {len(found)} {kind} volumes ({_names(found)}); {choose}")
            )
            continue
        taken = _mri(mris, session, selection)
        if isinstance(taken, str):
            problems.append(Problem(who, taken.format(choose=choose, kind=kind)))
            continue
        mri, notes = taken
        moving = found[0]
        cases.append(
            Case(
                subject=subject,
                session=session,
                tracer=moving.tracer,
                modality=Modality.parse(kind),
                fixed=mri.files,
                moving=moving.files,
                space=mri.kind,
                is_dicom=is_dicom,
                voxels=mri.voxels,
                notes=notes,
            )
        )
    return cases, problems, []


def _split(
    candidates: Iterable[Candidate], selection: Selection
) -> tuple[dict[str, list[Candidate]], dict[tuple[str, str], list[Candidate]]]:
    """Sort the volumes into MRIs by session, and moving volumes by session and kind."""
    mris: dict[str, list[Candidate]] = defaultdict(list)
    movings: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for one in candidates:
        if one.kind not in Modality.__members__:
            mris[one.session].append(one)
        elif selection.sessions and one.session not in selection.sessions:
            continue
        elif selection.takes(Modality.parse(one.kind), one.tracer):
            movings[one.session, one.kind].append(one)
    return mris, movings


def _mri(
    mris: dict[str, list[Candidate]], session: str, selection: Selection
) -> tuple[Candidate, tuple[str, ...]] | str:
    """Return the MRI for a session with remarks, or the sentence why there is none."""
    notes: tuple[str, ...] = ()
    found = _preferred(mris.get(session, ()), selection)
    if not found:
        others = {
            name: best for name, some in mris.items() if (best := _preferred(some, selection))
        }
        if not others:
            return (
                f"has a {{kind}} but no MRI ({', '.join(selection.mri)}); add it or leave the "
                "subject out"
            )
        if len(others) > 1:
            return (
                f"has no MRI in this session but one in each of {len(others)} others; "
                "put one beside the {kind}"
            )
        name, found = next(iter(others.items()))
        notes = (f"the MRI is of {f'ses-{name}' if name else 'no session'}",)
    if len(found) > 1:
        return f"has {len(found)} MRIs of one kind ({_names(found)}); {{choose}}"
    return found[0], notes


def _preferred(candidates: Sequence[Candidate], selection: Selection) -> list[Candidate]:
    for suffix in (*selection.mri, _UNNAMED):
        if found := [one for one in candidates if one.kind == suffix]:
            return found
    return []


def _names(candidates: Sequence[Candidate]) -> str:
    shown = [one.name for one in candidates[:_NAMED]]
    more = len(candidates) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more else "")
    return text.replace("{", "(").replace("}", ")")
