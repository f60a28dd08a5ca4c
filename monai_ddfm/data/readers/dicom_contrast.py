"""What kind of image a DICOM frame is, so that images of different kinds are never mixed.

Echoes, magnitude and phase, and PET with and without attenuation correction may share a series, a
place and even an instance number. What tells them apart stands in several elements, in functional
groups for enhanced images, and in a private element of GE.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pydicom.dataset import Dataset

from monai_ddfm.data.readers.tags import number, private, text, texts
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["Contrast", "complex_part", "contrast_of", "echo_steps", "shows_anatomy", "usable_kinds"]

_MAGNITUDE, _PHASE, _REAL, _IMAGINARY = "magnitude", "phase", "real", "imaginary"
_PARTS = {
    "M": _MAGNITUDE,
    "MAGNITUDE": _MAGNITUDE,
    "P": _PHASE,
    "PHASE": _PHASE,
    "PHASE MAP": _PHASE,
    "R": _REAL,
    "REAL": _REAL,
    "I": _IMAGINARY,
    "IMAGINARY": _IMAGINARY,
}
_GE_PARTS = {"0": _MAGNITUDE, "1": _PHASE, "2": _REAL, "3": _IMAGINARY}
_SAME_ECHO_MS = 0.05


@dataclass(frozen=True, order=True)
class Contrast:
    """What tells frames at one place and time apart.

    Attributes:
        echo_time: ms, 0 where unknown.
        echo: number of the echo.
        part: magnitude, phase, real or imaginary of an MRI; ``""`` where unknown.
        b_value: of diffusion, s/mm^2; -1 where unknown.
        attenuation: "AC" or "NAC" for PET and SPECT, ``""`` where unknown.
        kind: further words of the image type.
    """

    echo_time: float = 0.0
    echo: str = ""
    part: str = ""
    b_value: float = -1.0
    attenuation: str = ""
    kind: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [
            f"echo time {self.echo_time:g} ms" if self.echo_time else "",
            f"echo {self.echo}" if self.echo else "",
            self.part,
            f"b {self.b_value:g}" if self.b_value >= 0 else "",
            self.attenuation,
            " ".join(self.kind),
        ]
        return ", ".join(word for word in words if word) or "unnamed"


class _HasContrast(Protocol):
    @property
    def contrast(self) -> Contrast: ...


_Frame = TypeVar("_Frame", bound=_HasContrast)


def usable_kinds(
    frames: Sequence[_Frame], modality: Modality | None, path: Path
) -> tuple[list[_Frame], list[str]]:
    """Leave out frames that are no source of a fusion beside others that are.

    Of an MRI only the magnitude shows anatomy, or the real part where there is no magnitude. A PET
    or SPECT without attenuation correction stands back where there is one with it.

    Args:
        frames: of one series.
        modality: of the series.
        path: what the user gave, for messages.

    Returns:
        The frames to use, and notes on those that are left out.

    Raises:
        InputError: none would be left.
    """
    if modality is Modality.MR:
        parts = {frame.contrast.part for frame in frames}
        best = next((part for part in (_MAGNITUDE, "", _REAL) if part in parts), None)
        if best is None:
            raise InputError(
                f"{path} holds {' and '.join(sorted(parts))} images, which show no anatomy by "
                "themselves; give the magnitude images."
            )
        kept = {best, ""} if best == _MAGNITUDE else {best}
        used = [frame for frame in frames if frame.contrast.part in kept]
        left = " and ".join(sorted(parts - kept))
        notes = [f"{len(frames) - len(used)} {left} images are left out"] if left else []
        return used, notes
    if modality in (Modality.PET, Modality.SPECT):
        used = [frame for frame in frames if frame.contrast.attenuation == "AC"]
        if used and any(frame.contrast.attenuation == "NAC" for frame in frames):
            count = len(frames) - len(used)
            return used, [f"{count} images without attenuation correction are left out"]
    return list(frames), []


def contrast_of(sources: Sequence[Dataset | None], header: Dataset) -> Contrast:
    """Describe the kind of a frame.

    Args:
        sources: where its values may stand, nearest first.
        header: of its file.
    """
    echo_time = _first_number(sources, "EffectiveEchoTime", "EchoTime")
    b_value = _first_number(sources, "DiffusionBValue")
    kind = _first_texts(sources, "FrameType") or texts(header, "ImageType")
    rest = [word.upper() for word in kind[2:]]
    return Contrast(
        echo_time=echo_time or 0.0,
        echo=text(header, "EchoNumbers"),
        part=complex_part(sources, header),
        b_value=-1.0 if b_value is None else b_value,
        attenuation=_attenuation(header),
        kind=tuple(word for word in rest if word not in _PARTS),
    )


def shows_anatomy(header: Dataset) -> bool:
    """Whether an image is more than a phase or the imaginary part of an MRI.

    Args:
        header: of its file.
    """
    if text(header, "Modality").upper() != "MR":
        return True
    return complex_part((header,), header) not in (_PHASE, _IMAGINARY)


def complex_part(sources: Sequence[Dataset | None], header: Dataset) -> str:
    """Return which part of the complex signal an MRI shows, ``""`` where it does not say.

    Args:
        sources: where ``ComplexImageComponent`` may stand, nearest first.
        header: of the file.
    """
    told = next((t for s in sources if (t := text(s, "ComplexImageComponent"))), "").upper()
    if told in _PARTS:
        return _PARTS[told]
    kind = _first_texts(sources, "FrameType") or texts(header, "ImageType")
    for word in kind[2:]:
        # Philips names the sequence as well: M_FFE, R_FFE, P_SE.
        part = _PARTS.get(word.upper()) or _PARTS.get(word.upper().partition("_")[0])
        if part:
            return part
    return _GE_PARTS.get(private(header, 0x0043, "GEMS_PARM_01", 0x2F), "")


def echo_steps(contrasts: Iterable[Contrast]) -> dict[float, float]:
    """Return one echo time for all that differ by the jitter of the scanner only.

    Args:
        contrasts: of the frames of a series.

    Returns:
        The time to use, by the time in the header.
    """
    steps: dict[float, float] = {}
    last = None
    for time in sorted({one.echo_time for one in contrasts}):
        if last is None or time - last > max(_SAME_ECHO_MS, 0.01 * last):
            steps[time] = time
        else:
            steps[time] = steps[last]
        last = time
    return steps


def _first_number(sources: Sequence[Dataset | None], *keywords: str) -> float | None:
    values = (number(source, keyword) for keyword in keywords for source in sources)
    return next((value for value in values if value is not None), None)


def _first_texts(sources: Sequence[Dataset | None], keyword: str) -> tuple[str, ...]:
    return next((found for source in sources if (found := texts(source, keyword))), ())


def _attenuation(header: Dataset) -> str:
    told = text(header, "AttenuationCorrected").upper()
    if told in ("YES", "NO"):
        return "AC" if told == "YES" else "NAC"
    corrections = {word.upper() for word in texts(header, "CorrectedImage")}
    if not corrections:
        return ""
    return "AC" if "ATTN" in corrections else "NAC"
