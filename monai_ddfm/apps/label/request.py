"""What a client asks for, read from the ``params`` of its request.

Values from a client end in a configuration that MONAI evaluates, so only options that are declared
for this face (`monai_ddfm.options`) are read, each as a plain word, number or switch, and those
below that are the server's own. A value that MONAI would evaluate is refused wherever it stands,
also in options that are not read. No option is a path, and where a file may stand beside words,
only the words are taken: volumes are named by their identifier in the store.

MONAI Label's clients send back what ``/info`` offers, a list of choices where the user chose none:
the first is the default.
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
from monai_ddfm.transforms.windows import parse_window

__all__ = ["CHOICES", "EXTENSIONS", "FusionRequest", "offered_options", "read_request"]

AS_STORED: Final = "as stored"
EXTENSIONS: Final = (".nii.gz", ".nrrd")

_OWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # A study has several MRIs, and none of them says that it is the second volume.
        "modality": (AS_STORED, *(w for w in all_options()["modality"].words if w != "MR")),
        "result": ("luminance", "color"),
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


@dataclass(frozen=True, kw_only=True)
class FusionRequest:
    """What a client asks for.

    Attributes:
        modality: of the second volume; None to go by what the store says.
        image2: identifier of the second volume in the store; "" to find it.
        session2: session that holds the second volume; "" for none.
        result: "luminance" or "color".
        extension: of the file that goes back: ".nii.gz" or ".nrrd".
        store: what goes into the archive: "fusion", "everything" or "nothing".
        options: of the bundle's configuration, by name.
    """

    modality: Modality | None = None
    image2: str = ""
    session2: str = ""
    result: str = "luminance"
    extension: str = ".nii.gz"
    store: str = "fusion"
    options: Mapping[str, Any] = field(default_factory=dict)

    def check_window(self, modality: Modality) -> None:
        """See that the window belongs to the modality, before anything is computed.

        Raises:
            InputError: if it does not.
        """
        parse_window(self.options.get("window"), modality)


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
    words = {name: _word(name, params.get(name), words) for name, words in _OWN.items()}
    texts = {name: _text(name, params.get(name)) for name in _TEXTS}
    if texts["image2"] and texts["session2"]:
        raise InputError("the second volume is given twice; give image2 or session2.")
    options = {name: _read(o, params.get(name)) for name, o in options_of("label").items()}
    if options["speed"] is not None:
        at_speed(PRESETS[options["preset"]], options["speed"])  # sees that the preset has it
    stored = words["modality"] == AS_STORED
    return FusionRequest(
        modality=None if stored else Modality.parse(words["modality"]),
        image2=texts["image2"],
        session2=texts["session2"],
        result=words["result"],
        extension=words["result_extension"],
        store=words["store"],
        options=options,
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
