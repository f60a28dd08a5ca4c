"""What a client asks for, read from the ``params`` of its request.

Values from a client end in a configuration that MONAI evaluates, so only the options below are
read, each as a plain word or number; the values of the words are those offered in ``/info``. A
value that MONAI would evaluate is refused wherever it stands, also in options that are not read.
No option is a path: volumes are named by their identifier in the store.

MONAI Label's clients send back what ``/info`` offers, a list of choices where the user chose none:
the first is the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from monai_ddfm.color import COLOR_TABLES
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, SPEEDS
from monai_ddfm.inferers.presets import at_speed
from monai_ddfm.modality import Modality
from monai_ddfm.transforms.windows import parse_window

__all__ = ["CHOICES", "EXTENSIONS", "Wishes", "offered_options", "read_wishes"]

AS_STORED: Final = "as stored"
AS_PRESET: Final = "as the preset"
EXTENSIONS: Final = (".nii.gz", ".nrrd")


def _first(default: str, *others: str) -> tuple[str, ...]:
    return (default, *(other for other in others if other != default))


CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "modality": (AS_STORED, "PET", "SPECT", "CT"),
        "preset": _first("default", *PRESETS),
        "speed": (AS_PRESET, *SPEEDS),
        "registration": ("rigid", "affine", "deformable", "none"),
        "color_table": _first("inferno", *COLOR_TABLES),
        "result": ("luminance", "color"),
        "result_extension": EXTENSIONS,
        "store": ("fusion", "everything", "nothing"),
    }
)
"""The options that are a choice of words, the default first."""

_TEXTS: Final = ("window", "image2", "session2")
_NUMBERS: Final = {"steps": (0, 1000), "seed": (0, 2**32 - 1)}
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

_EVALUATED: Final = ("$", "@", "%")
_LONGEST: Final = 256


@dataclass(frozen=True, kw_only=True)
class Wishes:
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
    """Return what ``/info`` tells clients: choices as lists, texts and numbers by their default.

    Args:
        archive: whether results can be stored, which a folder does not do.
    """
    choices = {k: list(v) for k, v in CHOICES.items() if archive or k != "store"}
    return {**choices, **dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_NUMBERS, 0)}


def read_wishes(params: Any) -> Wishes:
    """Read the ``params`` of a request.

    Args:
        params: what the client sent, decoded from JSON.

    Raises:
        InputError: an option is unknown or its value is none that is offered.
    """
    if not isinstance(params, Mapping):
        raise InputError("the parameters of a request must be a JSON object.")
    for text in _texts_in(params):
        if text.strip().startswith(_EVALUATED) or text.strip() == "_target_":
            raise InputError(f"{_shown(text)} is refused: MONAI would evaluate such a value.")
    known = {*CHOICES, *_TEXTS, *_NUMBERS}
    if unknown := sorted(map(str, params.keys() - known - _OF_CLIENTS)):
        raise InputError(
            f"option {_shown(unknown[0])} is unknown; the options are {', '.join(sorted(known))}."
        )
    words = {name: _word(name, params.get(name)) for name in CHOICES}
    texts = {name: _text(name, params.get(name)) for name in _TEXTS}
    numbers = {name: _number(name, params.get(name)) for name in _NUMBERS}
    if texts["image2"] and texts["session2"]:
        raise InputError("the second volume is given twice; give image2 or session2.")
    stored = words["modality"] == AS_STORED
    return Wishes(
        modality=None if stored else Modality.parse_moving(words["modality"]),
        image2=texts["image2"],
        session2=texts["session2"],
        result=words["result"],
        extension=words["result_extension"],
        store=words["store"],
        options={
            "preset": words["preset"],
            "speed": _speed(words),
            "steps": numbers["steps"] or None,
            "seed": numbers["seed"],
            "registration": words["registration"],
            "color_table": words["color_table"],
            "window": texts["window"] or None,
        },
    )


def _speed(words: Mapping[str, str]) -> str | None:
    """Return the speed, if there is one, seeing that the preset has it."""
    if (speed := words["speed"]) == AS_PRESET:
        return None
    at_speed(PRESETS[words["preset"]], speed)
    return speed


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts of a value decoded from JSON, keys included, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one


def _word(name: str, given: Any) -> str:
    choices = CHOICES[name]
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


def _number(name: str, given: Any) -> int:
    low, high = _NUMBERS[name]
    if given is None or given == "":
        return low
    try:
        number = int(given) if not isinstance(given, bool) and float(given).is_integer() else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or not low <= number <= high:
        raise InputError(f"{name} must be a whole number up to {high}, not {_shown(given)}.")
    return number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
