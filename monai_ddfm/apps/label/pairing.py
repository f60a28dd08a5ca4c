"""Which volume belongs to an MRI: by name in a folder, by series in a study.

In a folder the name of a volume says whose it is and what it is. It is cut at underscores and
spaces; a part such as ``T1w``, ``pet`` or ``CT`` says what it is, BIDS entities that describe an
image (``acq-``, ``trc-``, ``run-`` ...) say neither, and the rest is the subject. ``sub-01_T1w``
and ``sub-01_trc-FDG_pet`` belong together, and so do ``t1`` and ``pet``. An operator with other
names gives a pattern, or a map.

In an archive the partner is a series of the same study with the right modality. If there are
several, their descriptions are judged: one that says it is attenuation-corrected or of the brain is
preferred, one that is a localizer or uncorrected put back.

Where no volume or more than one is left, nothing is guessed: the error lists the candidates.

Several volumes may be asked for at once, one of each modality: `modalities_by_name` and
`modalities_of_study` say which there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_ddfm.data.writers.dicom.context import made_here
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.utils.places import check_ordinary

__all__ = [
    "Candidate",
    "PairingRules",
    "choose_by_name",
    "choose_series",
    "modalities_by_name",
    "modalities_of_study",
]

_KIND = {word: modality for modality in Modality for word in modality.row.words.split()}
_DESCRIBES = re.compile(
    r"^(acq|ce|desc|dir|echo|mod|part|rec|res|run|space|task|tracer|trc)-", re.IGNORECASE
)
_WORTH: Sequence[tuple[str, int]] = (
    (r"\b(nac|no ?ac|non ?ac|uncorrected|unkorrigiert)\b", -4),
    (r"\b(mip|scout|topogram|locali[sz]er|surview|projection|screen|report|dose)\b", -4),
    (r"\b(ac|ctac|mrac|corrected|attn)\b", 2),
    (r"\b(brain|head|skull|cerebral|neuro)\b", 1),
    (r"\b(3d|tomo|recon|transaxial|axial)\b", 1),
)
_FEW_IMAGES = 3
_LISTED = 12


@dataclass(frozen=True)
class Candidate:
    """A volume that may be asked for.

    Attributes:
        id: its identifier in the store.
        modality: what it is; None if that cannot be told.
        description: of a series.
        images: of a series; None if not told.
    """

    id: str
    modality: Modality | None = None
    description: str = ""
    images: int | None = None

    def __str__(self) -> str:
        known = [str(self.modality or ""), self.description]
        if self.images is not None:
            known.append(f"{self.images} images")
        told = ", ".join(part for part in known if part)
        return f"{self.id} ({told})" if told else self.id


@dataclass(frozen=True)
class PairingRules:
    """How the operator pairs the volumes of a folder.

    Attributes:
        pairs: the other volumes and, if given, their modalities, by the identifier of the MRI.
        pattern: regular expression with the groups ``subject`` and ``modality`` for the whole
            identifier; None for the rule at the head of this module.
    """

    pairs: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None

    @classmethod
    def read(cls, *, pairs: Path | None = None, pattern: str | None = None) -> PairingRules:
        """Read what the operator gives.

        Args:
            pairs: JSON file: an object with, by the identifier of the MRI, the identifier of the
                second volume, or an object with ``image`` and ``modality``, or a list of these.
            pattern: regular expression.

        Raises:
            InputError: if one of them cannot be used.
        """
        return cls({} if pairs is None else _read_pairs(pairs), _read_pattern(pattern))

    def identify(self, name: str) -> tuple[str, Modality | None]:
        """Say whose volume this is, and what it is, by its identifier."""
        if self.pattern is not None:
            found = self.pattern.fullmatch(name)
            if found is None:
                return name, None
            return found["subject"] or "", _KIND.get((found["modality"] or "").lower())
        parts = [part for part in re.split(r"[_\s]+", name) if part]
        parts = [part.lower() for part in parts if not _DESCRIBES.match(part)]
        kinds = {_KIND[part] for part in parts if part in _KIND}
        rest = "_".join(part for part in parts if part not in _KIND)
        return rest, kinds.pop() if len(kinds) == 1 else None


def choose_by_name(
    image: str, ids: Iterable[str], *, modality: Modality | None, rules: PairingRules
) -> Candidate:
    """Find the second volume of an MRI in a folder.

    Args:
        image: identifier of the MRI.
        ids: of everything in the folder.
        modality: what is asked for; None takes any of CT, PET and SPECT.
        rules: the operator's.

    Raises:
        InputError: there is none, or more than one.
    """
    known = set(ids)
    if image in rules.pairs:
        return _choose_mapped(image, _mapped(image, known, rules), modality=modality)
    others = [Candidate(one, rules.identify(one)[1]) for one in sorted(known - {image})]
    moving = [one for one in others if one.modality not in (None, Modality.MR)]
    own = [one for one in _own(image, known, rules) if modality in (None, one.modality)]
    if len(own) == 1:
        return own[0]
    what = str(modality or "CT, PET or SPECT")
    if own:
        raise InputError(
            f"{image!r} has several partners ({what}): {_list(own)}; choose one with image2."
        )
    raise InputError(
        f"{image!r} has no {what} by name; {_offer(moving or others)}; name one with image2."
    )


def modalities_by_name(
    image: str, ids: Iterable[str], *, rules: PairingRules
) -> tuple[Modality, ...]:
    """Say of which modalities an MRI has partners in a folder; see `choose_by_name`.

    Raises:
        InputError: the operator's map names a volume that is not there.
    """
    known = set(ids)
    found = _mapped(image, known, rules) if image in rules.pairs else _own(image, known, rules)
    return _kinds(found)


def modalities_of_study(image: str, siblings: Iterable[Candidate]) -> tuple[Modality, ...]:
    """Say of which modalities an MRI has partners in its study; see `choose_series`."""
    return _kinds(_moving(image, siblings))


def choose_series(
    image: str, siblings: Iterable[Candidate], *, modality: Modality | None
) -> Candidate:
    """Find the second volume of an MRI among the series of its study.

    Args:
        image: identifier of the MRI's series.
        siblings: the series of the study.
        modality: what is asked for; None takes any of CT, PET and SPECT.

    Raises:
        InputError: there is none, or several are equally good.
    """
    moving = _moving(image, siblings)
    wanted = [one for one in moving if modality in (None, one.modality)]
    what = str(modality or "CT, PET or SPECT")
    if not wanted:
        raise InputError(
            f"the study of {image} has no {what}; {_offer(moving)}; name a series with image2."
        )
    best = max(map(_worth, wanted))
    kept = [one for one in wanted if _worth(one) == best]
    if len(kept) > 1:
        raise InputError(
            f"the study of {image} has several series that may be meant ({what}): {_list(kept)}; "
            "choose one with image2."
        )
    return kept[0]


def _kinds(candidates: Iterable[Candidate]) -> tuple[Modality, ...]:
    """Return the modalities of candidates, in the order of the table."""
    there = {one.modality for one in candidates}
    return tuple(kind for kind in Modality if kind in there)


def _moving(image: str, siblings: Iterable[Candidate]) -> list[Candidate]:
    """Return the series of a study that can be fused with an MRI."""
    return [
        one
        for one in siblings
        if one.id != image
        and one.modality not in (None, Modality.MR)
        and not made_here(one.description)
    ]


def _own(image: str, known: set[str], rules: PairingRules) -> list[Candidate]:
    """Return the moving volumes of a folder that are of the subject of an MRI."""
    subject, _ = rules.identify(image)
    named = {one: rules.identify(one) for one in sorted(known - {image})}
    return [
        Candidate(one, kind)
        for one, (whose, kind) in named.items()
        if whose == subject and kind not in (None, Modality.MR)
    ]


def _mapped(image: str, known: set[str], rules: PairingRules) -> list[Candidate]:
    """Return what the operator's map pairs an MRI with."""
    found = []
    for one in rules.pairs[image]:
        if one.id not in known:
            raise InputError(f"the map pairs {image!r} with {one.id!r}, which is not in the store.")
        found.append(Candidate(one.id, one.modality or rules.identify(one.id)[1]))
    return found


def _choose_mapped(
    image: str, mapped: Sequence[Candidate], *, modality: Modality | None
) -> Candidate:
    """Choose one of what the operator's map pairs an MRI with."""
    # What a name does not tell may be what is asked for.
    wanted = [one for one in mapped if modality in (None, one.modality)]
    wanted = wanted or [one for one in mapped if one.modality is None]
    if len(wanted) == 1:
        return Candidate(wanted[0].id, modality or wanted[0].modality)
    if wanted:
        raise InputError(
            f"the map pairs {image!r} with {_list(wanted)}; choose with modality or image2."
        )
    partners = " and ".join(repr(one.id) for one in mapped)
    raise InputError(f"the map pairs {image!r} with {partners}, which is no {modality}.")


def _worth(series: Candidate) -> int:
    text = re.sub(r"[_\-./^]+", " ", series.description.lower())
    worth = sum(points for pattern, points in _WORTH if re.search(pattern, text))
    few = series.images is not None and series.images < _FEW_IMAGES
    return worth - 4 * (few and series.modality is not Modality.SPECT)


def _offer(candidates: Sequence[Candidate]) -> str:
    return f"there are {_list(candidates)}" if candidates else "there is nothing to choose from"


def _list(candidates: Sequence[Candidate]) -> str:
    shown = ", ".join(map(str, candidates[:_LISTED]))
    return f"{shown} and more" if len(candidates) > _LISTED else shown


def _read_pairs(path: Path) -> dict[str, tuple[Candidate, ...]]:
    check_ordinary(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({error}); give a map of pairs."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; write the second volume by the MRI's name.")
    pairs = {}
    for image, entry in content.items():
        entries = entry if isinstance(entry, list) else [entry]
        found = tuple(_read_partner(path, image, one) for one in entries)
        if not found:
            raise InputError(f"{path} gives no second volume of {image!r}; write one.")
        pairs[image] = found
    return pairs


def _read_partner(path: Path, image: str, entry: Any) -> Candidate:
    partner = entry.get("image") if isinstance(entry, dict) else entry
    if not isinstance(partner, str) or not partner:
        raise InputError(f"{path} gives no name for the second volume of {image!r}; write one.")
    kind = entry.get("modality") if isinstance(entry, dict) else None
    return Candidate(partner, None if kind is None else Modality.parse(str(kind)))


def _read_pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"the pattern {text!r} is no regular expression ({error}).") from error
    if not {"subject", "modality"} <= pattern.groupindex.keys():
        raise InputError(
            f"the pattern {text!r} must name two groups: (?P<subject>...) and (?P<modality>...)."
        )
    return pattern
