"""The moving volumes of a fusion, one record each: what is given of one, and what it is called.

Most fusions have one. Its keys and files are then called as they always were: ``moving``,
``weight``. Of several, each has a name, its modality in small letters unless another is given, and
keys and files with that name behind: ``moving_pet``, ``weight_pet``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["DEFAULT", "Moved", "Source", "as_list", "as_sources", "names_of", "sources_of"]

DEFAULT: Final = "default"
"""In a list with one value for each moving volume: the one that holds if none is given."""

_NAME: Final = re.compile("[a-z0-9]{1,16}")
_TAKEN: Final = ("mri", "fixed", "scaled", "source", "registered", "recovered", "stability", "std")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A moving volume.

    Attributes:
        modality: what it was measured with.
        name: what it is called beside others; "" for the only one.
        path: file or folder.
        series: which DICOM series of it; None chooses by modality.
        frames: which time frames of it.
        window: its gray scale; None is that of the modality.
    """

    modality: Modality
    name: str = ""
    path: str | Path | None = None
    series: str | None = None
    frames: Any = None
    window: str | None = None

    def called(self, stem: str) -> str:
        """Return what something of this source is called: a key, a file without its ending."""
        return f"{stem}_{self.name}" if self.name else stem

    def file(self, name: str) -> str:
        """Return the name of a file of this source: ``weight.nii.gz`` with its name in it."""
        stem, dot, ending = name.partition(".")
        return f"{self.called(stem)}{dot}{ending}"

    @property
    def key(self) -> str:
        """Key of the volume in a case."""
        return self.called("moving")

    @property
    def loaded_key(self) -> str:
        """Key of the volume as it was loaded."""
        return f"{self.key}_source"

    @property
    def scaled_key(self) -> str:
        """Key of the volume as the network sees it, from -1 to 1."""
        return f"{self.key}_scaled"

    @property
    def weight_key(self) -> str:
        """Key of its share in the fusion."""
        return self.called("weight")

    @property
    def stability_key(self) -> str:
        """Key of how sure that share is, if several samples say it."""
        return self.called("weight_stability")

    @property
    def title(self) -> str:
        """What people read: the modality, and the name where that says more."""
        is_plain = self.name in ("", self.modality.lower())
        return str(self.modality) if is_plain else f"{self.modality} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What there is of a moving volume on the grid of the MRI.

    Attributes:
        source: which one it is.
        volume: [1, H, W, D] in its own units, or [3, H, W, D] colors in 0..255.
        weight: [1, H, W, D], its share in the fusion in [0, 1]; None if there is none.
        stability: [1, H, W, D] in [0, 1], how sure that is; None without several samples.
    """

    source: Source
    volume: Any
    weight: Any = None
    stability: Any = None


def as_sources(given: str | Modality | Sequence[Source]) -> tuple[Source, ...]:
    """Return records as they are, and of a modality that of the only moving volume."""
    if isinstance(given, str):
        return (Source(modality=Modality.parse(given)),)
    return tuple(given)


def sources_of(
    moving: Any,
    modality: Any,
    *,
    name: Any = None,
    series: Any = None,
    frames: Any = None,
    window: Any = None,
    beside: Mapping[str, Any] | None = None,
) -> tuple[Source, ...]:
    """Return the records of the moving volumes.

    Args:
        moving: a path, or several in a list.
        modality: of each.
        name: of each, if there are several; None is the modality.
        series: of each; `DEFAULT` or None in a list leaves one to its modality.
        frames: likewise.
        window: likewise.
        beside: other options by name, of which some do not go with several moving volumes.

    Raises:
        InputError: there are not as many of one as of another, two volumes are one file, or two
            have one name.
    """
    paths, kinds = as_list(moving), [Modality.parse(one) for one in as_list(modality)]
    if not paths:
        raise InputError("there is no moving volume; give one with --moving.")
    if len(kinds) != len(paths):
        raise InputError(
            f"{_times(len(paths), 'moving volume')} and {_times(len(kinds), 'modality')} do not "
            "go together; give --modality once for each --moving, in the same order."
        )
    if len(paths) == 1:
        if as_list(name):
            raise InputError("a name tells several moving volumes apart; leave --name out.")
        return (
            Source(
                modality=kinds[0], path=paths[0], series=series, frames=frames, window=_one(window)
            ),
        )
    _check_twice(paths, [series, frames])
    _check_beside(beside or {})
    called = names_of(kinds, as_list(name))
    each = {
        "series": _for_each("moving_series", series, paths),
        "frames": _for_each("moving_frames", frames, paths),
        "window": _for_each("window", window, paths),
    }
    return tuple(
        Source(
            modality=kind,
            name=called[number],
            path=paths[number],
            **{key: values[number] for key, values in each.items()},
        )
        for number, kind in enumerate(kinds)
    )


def as_list(value: Any) -> list[Any]:
    """Return one value, or several, as a list; None as an empty one."""
    if value is None:
        return []
    is_one = isinstance(value, str | Path) or not isinstance(value, Sequence)
    return [value] if is_one else list(value)


def names_of(modalities: Sequence[Modality], names: Sequence[str] = ()) -> list[str]:
    """Return what moving volumes are called.

    Args:
        modalities: of the volumes.
        names: as given, one for each; none for the modalities in small letters.

    Raises:
        InputError: two have one name, there are not as many as volumes, or a name cannot be part
            of a file's name.
    """
    if not names:
        for kind in modalities:
            if modalities.count(kind) > 1:
                raise InputError(
                    f"{modalities.count(kind)} of the moving volumes are {kind}; tell them apart "
                    "with --name, once for each --moving, in the same order."
                )
        return [kind.lower() for kind in modalities]
    if len(names) != len(modalities):
        raise InputError(
            f"{_times(len(modalities), 'moving volume')} and {_times(len(names), 'name')} do not "
            "go together; give --name once for each --moving, in the same order."
        )
    for name in names:
        if not _NAME.fullmatch(str(name)) or name in _TAKEN:
            raise InputError(
                f"{str(name)!r} cannot be the name of a moving volume; use up to 16 small letters "
                f"and digits, and not {', '.join(_TAKEN[:-1])} or {_TAKEN[-1]}."
            )
        if list(names).count(name) > 1:
            raise InputError(f"two moving volumes are called {name!r}; give each its own --name.")
    return [str(name) for name in names]


def _check_twice(paths: Sequence[Any], chosen: Sequence[Any]) -> None:
    """Refuse a file that is given twice, unless series or frames of it are chosen."""
    if any(value is not None for value in chosen):
        return
    real = [Path(path).expanduser().absolute() for path in paths]
    for path, at in zip(paths, real, strict=True):
        if real.count(at) > 1 and not at.is_dir():
            raise InputError(f"{path} is given twice; give each moving volume once.")


_ALONE: Final[Mapping[str, str]] = {
    "recover_moving": "the recovery is",
    "reference_mask": "the reference mask is",
    "bone_tint": "the tint of bone is",
    "smooth_across": "smoothing across slices is",
    "favor_moving": "favor moving is",
}
"""Options that go with one moving volume alone, and how a sentence about them begins."""


def _check_beside(options: Mapping[str, Any]) -> None:
    """Refuse options that several moving volumes do not go with."""
    for name, words in _ALONE.items():
        if options.get(name) not in (None, False, 0, 0.0, "off"):
            flag = name.replace("_", "-")
            raise InputError(f"{words} for one moving volume; leave --{flag} out with several.")
    preset = options.get("preset")
    if preset not in (None, "default"):
        raise InputError(f"the preset {preset} fuses one moving volume; use default for several.")
    method = options.get("registration")
    if method is not None and str(method).lower() not in ("rigid", "affine", "deformable", "none"):
        raise InputError(
            f"the transform file {method} is of one moving volume; register several with rigid, "
            "affine or deformable, or give volumes that are aligned and none."
        )


def _for_each(option: str, value: Any, paths: Sequence[Any]) -> list[Any]:
    """Return the values of an option, one for each volume."""
    if value is None:
        return [None] * len(paths)
    values = as_list(value)
    if len(values) != len(paths):
        raise InputError(
            f"{option.replace('_', ' ')} is given {_times(len(values), 'time')} for {len(paths)} "
            f"moving volumes; give --{option.replace('_', '-')} once for each, {DEFAULT} where it "
            "is to be its own."
        )
    return [_one(one) for one in values]


def _one(value: Any) -> Any:
    return None if value == DEFAULT else value


def _times(count: int, word: str) -> str:
    if count == 1:
        return f"1 {word}"
    return f"{count} {word.removesuffix('y')}ies" if word.endswith("y") else f"{count} {word}s"
