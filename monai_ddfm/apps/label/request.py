"""What a client asks for, read from the ``params`` of its request.

Values from a client end in a configuration that MONAI evaluates, so only options that are declared
for this face (`monai_ddfm.options`) are read, each as a plain word, number or switch, and those
below that are the server's own. A value that MONAI would evaluate is refused wherever it stands,
also in options that are not read. No option is a path, and where a file may stand beside words,
only the words are taken: volumes are named by their identifier in the store.

MONAI Label's clients send back what ``/info`` offers, a list of choices where the user chose none:
the first is the default.

Several moving volumes are named by lists, one entry for each volume, or in a text with commas,
which is all that a viewer's text box can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS
from monai_ddfm.inferers.presets import at_speed
from monai_ddfm.modalities import Modality
from monai_ddfm.options import all_options, options_of
from monai_ddfm.options.fields import Option
from monai_ddfm.options.values import EVALUATED, texts_in
from monai_ddfm.sources import Source, as_list, sources_of
from monai_ddfm.transforms.windows import parse_window

__all__ = ["CHOICES", "EXTENSIONS", "FusionRequest", "offered_options", "read_request"]

AS_STORED: Final = "as stored"
EVERY: Final = "all"
"""All moving volumes that there are, one of each modality."""

EXTENSIONS: Final = (".nii.gz", ".nrrd")

_OWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # A study has several MRIs, and none of them says that it is the second volume.
        "modality": (AS_STORED, EVERY, *(w for w in all_options()["modality"].words if w != "MR")),
        "result": ("luminance", "color", "files"),
        "result_extension": EXTENSIONS,
        "store": ("fusion", "everything", "nothing"),
    }
)


def _is_choice(option: Option) -> bool:
    """Whether a client may give one of the words of an option and nothing else."""
    return option.only_words or (bool(option.words) and Path in option.types)


def _words(option: Option) -> tuple[str, ...]:
    """Return the words of a choice, the default first."""
    first = option.shown_default if option.default is None else option.default
    return (first, *(word for word in option.words if word != first))


CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {**_OWN, **{n: _words(o) for n, o in options_of("label").items() if _is_choice(o)}}
)
"""The options that are a choice of words, the default first."""

_TEXTS: Final = ("image2", "session2")
_OF_CLIENTS: Final = frozenset(
    {
        "client_id",
        "device",
        "gpus",
        "label_info",
        "label_tag",
        "logging",
        "multi_gpu",
        "restore_label_idx",
        "result_compress",
        "result_dtype",
        "result_write_to_file",
        "save_label",
    }
)
"""What MONAI Label's clients send to every model, and what has no meaning here."""

_LONGEST: Final = 256
_MOST: Final = 16
"""Volumes that a request may name."""

_WITH_COMMAS: Final = "moving_frames"
"""The option in which commas stand inside one value; several of it are a list."""


@dataclass(frozen=True, kw_only=True)
class FusionRequest:
    """What a client asks for.

    Attributes:
        modalities: of the moving volumes, in their order, None for one to go by what the store
            says; empty to take the one that there is.
        every: whether all moving volumes are taken that there are, one of each modality.
        image2: identifiers of the moving volumes in the store; empty to find them.
        session2: sessions that hold the moving volumes; empty for none.
        result: "luminance", "color", or "files" for all volumes.
        extension: of the file that goes back: ".nii.gz" or ".nrrd".
        store: what goes into the archive: "fusion", "everything" or "nothing".
        options: of the bundle's configuration, by name; lists of those that are given for each
            moving volume.
    """

    modalities: tuple[Modality | None, ...] = ()
    every: bool = False
    image2: tuple[str, ...] = ()
    session2: tuple[str, ...] = ()
    result: str = "luminance"
    extension: str = ".nii.gz"
    store: str = "fusion"
    options: Mapping[str, Any] = field(default_factory=dict)

    def sources(self, ids: Sequence[str], modalities: Sequence[Modality]) -> tuple[Source, ...]:
        """Return the records of the moving volumes, before anything is computed.

        Args:
            ids: of the volumes.
            modalities: of the volumes, which are known by now.

        Raises:
            InputError: if two volumes are one or cannot be told apart, or an option does not go
                with them.
        """
        names = as_list(self.options.get("name"))
        for kind in modalities:
            if modalities.count(kind) > 1 and not names:
                raise InputError(
                    f"{modalities.count(kind)} of the moving volumes are {kind}; tell them apart "
                    "with name, one for each, in the same order."
                )
        found = sources_of(
            [*ids],
            [*modalities],
            name=self.options.get("name"),
            frames=self.options.get("moving_frames"),
            window=self.options.get("window"),
            beside=self.options,
        )
        for source in found:
            parse_window(source.window, source.modality)
        return found


def offered_options(*, archive: bool) -> dict[str, Any]:
    """Return what ``/info`` tells clients.

    Choices are lists; switches, numbers and texts are there by their default. Where there is none,
    it is 0 for a number that cannot be 0, otherwise an empty text.

    Args:
        archive: whether results can be stored, which a folder does not do.
    """
    own = {name: list(words) for name, words in _OWN.items() if archive or name != "store"}
    declared = {name: _offer(option) for name, option in options_of("label").items()}
    return {**own, **declared, **dict.fromkeys(_TEXTS, "")}


def read_request(params: Any) -> FusionRequest:
    """Read the ``params`` of a request.

    Args:
        params: what the client sent, decoded from JSON.

    Raises:
        InputError: an option is unknown or its value is none that is offered.
    """
    if not isinstance(params, Mapping):
        raise InputError("the parameters of a request must be a JSON object.")
    for text in texts_in(params):
        if text.strip().startswith(EVALUATED) or text.strip() == "_target_":
            raise InputError(f"{_shown(text)} is refused: MONAI would evaluate such a value.")
    known = offered_options(archive=True).keys()
    if unknown := sorted(map(str, params.keys() - known - _OF_CLIENTS)):
        raise InputError(
            f"option {_shown(unknown[0])} is unknown; the options are {', '.join(sorted(known))}."
        )
    modalities = _modalities(params.get("modality"))
    words = {
        name: _word(name, params.get(name), words)
        for name, words in _OWN.items()
        if name != "modality"
    }
    texts = {name: _texts(name, params.get(name)) for name in _TEXTS}
    if texts["image2"] and texts["session2"]:
        raise InputError("the second volume is given twice; give image2 or session2.")
    _check_counts(modalities, texts["image2"] or texts["session2"])
    options = {name: _read(o, params.get(name)) for name, o in options_of("label").items()}
    if options["speed"] is not None:
        at_speed(PRESETS[options["preset"]], options["speed"])  # sees that the preset has it
    known_kinds = [None if one == AS_STORED else one for one in modalities if one != EVERY]
    return FusionRequest(
        modalities=tuple(None if one is None else Modality.parse(one) for one in known_kinds),
        every=modalities == [EVERY],
        image2=texts["image2"],
        session2=texts["session2"],
        result=words["result"],
        extension=words["result_extension"],
        store=words["store"],
        options=options,
    )


def _modalities(given: Any) -> list[str]:
    """Read the modalities: one word or several; none is "as stored"."""
    words = _OWN["modality"]
    several = given if isinstance(given, list) else _split(given)
    if several == [*words]:  # the offer, sent back
        several = []
    if len(several) > _MOST:
        raise InputError(f"{len(several)} modalities are too many; give up to {_MOST}.")
    found = [_word("modality", one, words) for one in several]
    if EVERY in found and len(found) > 1:
        raise InputError(f"modality {EVERY!r} stands for all; give it alone.")
    return [] if found == [AS_STORED] else found


def _check_counts(modalities: Sequence[str], volumes: Sequence[str]) -> None:
    """See that volumes and modalities that are named go together."""
    if not volumes:
        for one in modalities:
            if modalities.count(one) > 1:
                raise InputError(
                    f"{one} is asked for {modalities.count(one)} times; name the volumes with "
                    "image2."
                )
    elif EVERY in modalities:
        raise InputError(f"modality {EVERY!r} finds the volumes itself; leave image2 out.")
    elif modalities and len(modalities) != len(volumes):
        raise InputError(
            f"the moving volumes that are named are {len(volumes)} and their modalities "
            f"{len(modalities)}; give one modality for each, in the same order, or none."
        )


def _offer(option: Option) -> Any:
    if option.name in CHOICES:
        return list(CHOICES[option.name])
    if option.default is not None:
        return option.default
    return 0 if option.is_number and not option.holds(0) else ""


def _read(option: Option, given: Any) -> Any:
    """Read the value of a declared option; None stands for the configuration's own."""
    if option.name in CHOICES:
        word = _word(option.name, given, CHOICES[option.name])
        return word if word in option.words else None
    if option.types[0] is bool:
        return _switch(option, given)
    if option.is_number:
        return _number(option, given)
    if option.each:
        texts = _texts(option.name, given)
        return (texts[0] if len(texts) == 1 else list(texts)) if texts else option.default
    return _text(option.name, given) or option.default


def _switch(option: Option, given: Any) -> bool:
    if given is None or given == "":
        return bool(option.default)
    known = {"true": True, "false": False}
    switched = known.get(given.strip().lower()) if isinstance(given, str) else given
    if not isinstance(switched, bool):
        raise InputError(f"{option.name} must be true or false, not {_shown(given)}.")
    return switched


def _word(name: str, given: Any, choices: Sequence[str]) -> str:
    given = given[0] if isinstance(given, list) and given else given
    if given is None or given == "":
        return choices[0]
    found = [c for c in choices if isinstance(given, str) and c.lower() == given.strip().lower()]
    if not found:
        raise InputError(f"{name} {_shown(given)} is unknown; use {', '.join(choices)}.")
    return found[0]


def _text(name: str, given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > _LONGEST or not given.isprintable():
        raise InputError(f"{name} must be a short text, not {_shown(given)}.")
    return given.strip()


def _texts(name: str, given: Any) -> tuple[str, ...]:
    """Read one text or several: a list, or with commas in it."""
    several = given if isinstance(given, list) else _split(given, whole=name == _WITH_COMMAS)
    if len(several) > _MOST:
        raise InputError(f"{name} names {len(several)} volumes; give up to {_MOST}.")
    found = tuple(_text(name, one) for one in several)
    if len(found) > 1 and "" in found:
        raise InputError(f"one entry of {name} is empty; give one for each moving volume.")
    return tuple(filter(None, found))


def _split(given: Any, *, whole: bool = False) -> list[Any]:
    """Cut a text at its commas; what is no text is left to be judged."""
    if given is None or given == "":
        return []
    if not isinstance(given, str) or whole:
        return [given]
    return [part.strip() for part in given.strip().removesuffix(",").split(",")]


def _number(option: Option, given: Any) -> Any:
    if given is None or given == "":
        return option.default
    whole = option.types[0] is int
    try:
        number = float("nan") if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if number == 0 and not option.holds(0):
        return option.default
    if not option.holds(number) or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        which = f" up to {option.most:.10g}" if whole and option.most else f", {option.range}"
        raise InputError(f"{option.name} must be {kind}{which}, not {_shown(given)}.")
    return int(number) if whole else number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
