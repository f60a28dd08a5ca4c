"""Cases in a BIDS data set, found with pybids.

MRIs are the files with suffix T1w, T2w or FLAIR; moving volumes those with suffix ``pet``, and
``ct`` or ``spect`` where the data set names them, for which BIDS has no place yet.

Only the raw data of subjects count: what lies in other folders of the root (results of fMRIPrep,
old derivatives, this program's own), what pybids' validator does not know as raw data, what
``.bidsignore`` leaves out, and phase images are no sources. A rule of ``.bidsignore`` that is about
``ct`` or ``spect`` is there because the validator does not know them, and does not count.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from monai_ddfm.apps.cohort.bids_ignore import Rule, ignores, read_rules
from monai_ddfm.apps.cohort.cases import MRI_SUFFIXES, Case, Finding, Problem, Selection
from monai_ddfm.apps.cohort.pairing import Candidate, pair
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS

__all__ = ["CHOOSABLE", "find_in_bids"]

CHOOSABLE = ("run", "rec", "ce", "acq")
"""Entities by which one of several volumes of a kind may be chosen."""
_MOVING = {row.suffix: name for name, row in ROWS.items() if row.suffix}
_UNKNOWN_TO_BIDS = ("ct", "spect")
_ABOUT_THEM = re.compile(r"(?:^|[/_*])(?:ct|spect)(?:[/_.*]|$)")
_LIKE_RAW = re.compile(
    r"(?P<sub>sub-[0-9a-zA-Z]+)/(?:(?P<ses>ses-[0-9a-zA-Z]+)/)?[0-9a-zA-Z]+/"
    r"(?P=sub)(?(ses)_(?P=ses))(?:_(?!space-|desc-|res-)[a-z]+-[0-9a-zA-Z+]+)*_(?:ct|spect)\.nii"
    r"(?:\.gz)?"
)
_SIMPLE = re.compile(
    r"(?P<sub>sub-[0-9a-zA-Z]+)/(?:(?P<ses>ses-[0-9a-zA-Z]+)/)?"
    r"(?:anat/(?P=sub)(?(ses)_(?P=ses))_(?:T1w|T2w|FLAIR)"
    r"|pet/(?P=sub)(?(ses)_(?P=ses))(?:_trc-[0-9a-zA-Z]+)?_pet)\.nii(?:\.gz)?"
)
"""The usual names of raw data, for which the slow validator need not be asked."""
_ENTITY = re.compile(r"(?:^|_)([a-z]+)-([0-9a-zA-Z+]+)")
_NOT_MAGNITUDE = ("phase", "real", "imag")
_ENDINGS = (".nii.gz", ".nii")
_IGNORED = (
    re.compile(r"^/(?!sub-)[^/.]+(?:/|$)"),  # folders beside those of the subjects
    re.compile(r"/[^/.]+\.(?!nii(\.gz)?$)[^/]*$"),  # files that are no images
)


def find_in_bids(root: Path, selection: Selection, *, outside: Sequence[Path] = ()) -> Finding:
    """Find the cases of a data set.

    Args:
        root: folder of the data set.
        selection: what is wanted.
        outside: folders that hold no sources, such as the one for the results.

    Raises:
        InputError: the folder cannot be indexed, or a wanted participant is not there.
    """
    volumes, notes = _volumes(root, selection, outside)
    if missing := sorted(set(selection.participants) - set(volumes)):
        raise InputError(
            f"{root} has no images of sub-{missing[0]}; correct --participant-label "
            f"(there are {len(volumes)} subjects)."
        )
    cases: list[Case] = []
    problems: list[Problem] = []
    choose = (
        "choose with --tracer, --session-label, --mri or --entity (run-1, rec-AC), or keep one of "
        "them in the data set"
    )
    for subject in sorted(volumes):
        if selection.participants and subject not in selection.participants:
            continue
        found = pair(subject, volumes[subject], selection, choose=choose)
        cases += found[0]
        problems += found[1]
        notes += found[2]
    return Finding("BIDS", root, cases, problems, notes)


def _volumes(
    root: Path, selection: Selection, outside: Sequence[Path]
) -> tuple[dict[str, list[Candidate]], list[str]]:
    """Return the raw volumes by subject, and notes on what is left out."""
    from bids_validator import BIDSValidator  # noqa: PLC0415 - comes with pybids

    known, rules = BIDSValidator(), read_rules(root)
    rules_for = {True: [r for r in rules if not _ABOUT_THEM.search(r.text)], False: rules}
    volumes: dict[str, list[Candidate]] = defaultdict(list)
    foreign: list[str] = []
    for subject, session, tracer, suffix, path in _indexed(root):
        place = Path(path)
        below = place.relative_to(root).as_posix()
        if not below.startswith("sub-") or any(place.is_relative_to(one) for one in outside):
            continue
        unknown = suffix in _UNKNOWN_TO_BIDS
        if _is_left_out(below, rules_for[unknown]):
            continue
        raw = _LIKE_RAW if unknown else _SIMPLE
        is_raw = bool(raw.fullmatch(below)) or (not unknown and known.is_bids(f"/{below}"))
        if not isinstance(subject, str) or not is_raw:
            foreign.append(below)
            continue
        volumes[subject].append(
            Candidate(
                session=_text(session),
                kind=_MOVING.get(suffix, suffix),
                files=(path,),
                name=place.name,
                tracer=_text(tracer) if suffix in _MOVING else "",
            )
        )
    for subject, found in volumes.items():
        volumes[subject] = sorted(_chosen(found, selection), key=lambda one: one.files)
    return volumes, _notes(sorted(foreign))


def _indexed(root: Path) -> Iterable[tuple[object, object, object, str, str]]:
    """Yield subject, session, tracer, suffix and path of what may be a volume."""
    from bids import BIDSLayout, BIDSLayoutIndexer  # noqa: PLC0415 - slow, needs the extra

    # Only the names of images are needed, not the sidecars; names are validated one by one.
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=list(_IGNORED))
    try:
        with _quiet():
            layout = BIDSLayout(str(root), validate=False, indexer=indexer)
            rows = layout.to_df(
                suffix=[*MRI_SUFFIXES, *_MOVING], extension=list(_ENDINGS), scope="raw"
            )
    except Exception as error:  # pybids raises of many kinds for damaged data sets
        why = " ".join(str(error).split())
        raise InputError(
            f"{root} cannot be indexed as a BIDS data set ({why}); check it."
        ) from error
    del layout  # its data base takes as much memory as all the rest
    columns = ["subject", "session", "tracer", "suffix", "path"]
    found: Iterable[tuple[object, object, object, str, str]] = rows.reindex(
        columns=columns
    ).itertuples(index=False, name=None)
    return found


def _is_left_out(below: str, rules: Sequence[Rule]) -> bool:
    return ignores(rules, below) or _entities(below).get("part") in _NOT_MAGNITUDE


def _entities(path: str) -> dict[str, str]:
    return dict(_ENTITY.findall(Path(path).name))


def _chosen(found: Sequence[Candidate], selection: Selection) -> list[Candidate]:
    """Keep, of the volumes of a kind, those with the wanted entities, where some have them."""
    kept = list(found)
    for name, label in selection.entities:
        groups: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
        for one in kept:
            groups[one.session, one.kind].append(one)
        kept = [one for group in groups.values() for one in _with_entity(group, name, label)]
    return kept


def _with_entity(group: Sequence[Candidate], name: str, label: str) -> list[Candidate]:
    labels = [_entities(one.files[0]).get(name) for one in group]
    wanted = _plain(name, label)
    fitting = [one for one, own in zip(group, labels, strict=True) if _plain(name, own) == wanted]
    return fitting or [one for one, own in zip(group, labels, strict=True) if own is None]


def _plain(name: str, label: str | None) -> str | None:
    """Runs are numbers, which may be written with zeros in front."""
    return (label.lstrip("0") or "0") if label and name == "run" else label


def _notes(foreign: Sequence[str]) -> list[str]:
    if not foreign:
        return []
    return [
        f"{len(foreign)} images with names that are no raw data of BIDS are left out, such as "
        f"{foreign[0]}"
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of pybids off the screen."""
    logger = logging.getLogger("bids")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
