"""Cases in a BIDS data set, found with pybids.

MRIs are the files with suffix T1w, T2w or FLAIR; moving volumes those with suffix ``pet``, and
``ct`` or ``spect`` where the data set names them, for which BIDS has no place yet.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_ddfm.cohort.cases import MRI_SUFFIXES, Case, Finding, Problem, Selection
from monai_ddfm.cohort.pairing import Candidate, pair
from monai_ddfm.errors import InputError

__all__ = ["find_in_bids"]

_MOVING = {"pet": "PET", "ct": "CT", "spect": "SPECT"}
_ENDINGS = (".nii.gz", ".nii")
_IGNORED = (
    re.compile(r"^/(code|models|sourcedata|stimuli)"),  # as pybids does by itself
    re.compile(r"/[^/.]+\.(?!nii(\.gz)?$)[^/]*$"),  # files that are no images
)


def find_in_bids(root: Path, selection: Selection) -> Finding:
    """Find the cases of a data set.

    Args:
        root: folder of the data set.
        selection: what is wanted.

    Raises:
        InputError: the folder cannot be indexed, or a wanted participant is not there.
    """
    volumes = _volumes(root)
    if missing := sorted(set(selection.participants) - set(volumes)):
        raise InputError(
            f"{root} has no images of sub-{missing[0]}; correct --participant-label "
            f"(there are {len(volumes)} subjects)."
        )
    cases: list[Case] = []
    problems: list[Problem] = []
    notes: list[str] = []
    choose = "choose with --tracer, --session-label or --mri, or keep one of them in the data set"
    for subject in sorted(volumes):
        if selection.participants and subject not in selection.participants:
            continue
        found = pair(subject, volumes[subject], selection, choose=choose)
        cases += found[0]
        problems += found[1]
        notes += found[2]
    return Finding("BIDS", root, cases, problems, notes)


def _volumes(root: Path) -> dict[str, list[Candidate]]:
    from bids import BIDSLayout, BIDSLayoutIndexer  # noqa: PLC0415 - slow, needs the extra

    # Only the names of images are needed: neither validation nor the sidecars.
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
    volumes: dict[str, list[Candidate]] = defaultdict(list)
    del layout  # its data base takes as much memory as all the rest
    columns = ["subject", "session", "tracer", "suffix", "path"]
    for subject, session, tracer, suffix, path in rows.reindex(columns=columns).itertuples(
        index=False, name=None
    ):
        if not isinstance(subject, str):
            continue
        volumes[subject].append(
            Candidate(
                session=_text(session),
                kind=_MOVING.get(suffix, suffix),
                files=(path,),
                name=Path(path).name,
                tracer=_text(tracer) if suffix in _MOVING else "",
            )
        )
    for found in volumes.values():
        found.sort(key=lambda one: one.files)
    return volumes


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
