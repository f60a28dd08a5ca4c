"""What a reader returns, and the few things that all readers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["FrameStack", "OpenedVolume", "Volume", "channels_first", "combine_frames", "reason"]

_REASON_LENGTH = 160


@dataclass(frozen=True)
class Volume:
    """One volume in its original units.

    Attributes:
        array: [C, H, W, D] float32; C is 1, or 3 for RGB in 0..255.
        affine: [4, 4] float64, voxel index to millimetres in RAS.
        meta: metadata with strings, numbers and arrays only, so that it collates.
        report: JSON-ready note on what was read and how.
    """

    array: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    meta: dict[str, Any]
    report: dict[str, Any]


@dataclass(frozen=True)
class OpenedVolume:
    """A volume whose header has been read and judged, and whose voxels have not.

    Attributes:
        shape: voxels along the three axes of the file.
        affine: [4, 4] float64, voxel index to millimetres in RAS.
        load: reads and judges the voxels.
        patient_id: of the header, ``""`` where unknown.
        series: what people call the series, ``""`` for a file without one.
    """

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    load: Callable[[], Volume]
    patient_id: str = ""
    series: str = ""


@dataclass(frozen=True)
class FrameStack:
    """A volume that was measured several times, loaded one time frame at a time.

    Attributes:
        count: the number of time frames.
        load: gives frame `t` as [H, W, D].
        durations: seconds that each frame lasted, empty where unknown.
        called: how a message calls the frames.
    """

    count: int
    load: Callable[[int], npt.NDArray[Any]]
    durations: Sequence[float] = field(default=())
    called: str = "frames"


def combine_frames(
    stack: FrameStack, path: Path, *, modality: Modality | None, frames: Sequence[int] | None
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Bring the time frames of a 4-D volume down to one volume.

    Frames are averaged over time, that is weighted by their durations where all are known. PET and
    SPECT are averaged without being asked; for other modalities the frames (echoes, b-values) are
    different images, of which the user has to choose.

    Args:
        stack: the frames.
        path: file or folder, for messages.
        modality: what was measured, None where unknown.
        frames: 0-based frames to average, or None for all.

    Returns:
        [H, W, D] float32, and a note on the frames for the report.

    Raises:
        InputError: a frame does not exist, or choosing is necessary and nothing was chosen.
    """
    if frames is None and not (modality and modality.row.averaged):
        what = modality or "volume of unknown modality"
        raise InputError(
            f"{path} is a 4-D {what} with {stack.count} {stack.called}, which must not be "
            f"averaged; choose one of 0 to {stack.count - 1} with frames=."
        )
    chosen = list(range(stack.count)) if frames is None else [int(f) for f in frames]
    wrong = [f for f in chosen if not 0 <= f < stack.count]
    if wrong or not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"{path} has frames 0 to {stack.count - 1}, but frames={chosen} was asked for; "
            "name existing frames once each."
        )
    timed = len(stack.durations) == stack.count and all(d > 0 for d in stack.durations)
    weights = np.array([stack.durations[f] if timed else 1.0 for f in chosen])
    weights = weights / weights.sum()
    total: npt.NDArray[np.float64] | None = None
    for weight, frame in zip(weights, chosen, strict=True):
        part = np.asarray(stack.load(frame), dtype=np.float64) * weight
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    note = {
        "available": stack.count,
        "used": chosen,
        "combined": "one frame" if len(chosen) == 1 else "mean",
        "weighted_by": "duration" if timed else "nothing",
    }
    return total.astype(np.float32), note


def channels_first(rgb: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Bring an RGB volume of any depth to [3, H, W, D] in 0..255.

    Args:
        rgb: [H, W, D, 3 or 4]; a fourth channel (opacity) is dropped. Floats in 0..1 and 16-bit
            integers are scaled to 0..255, everything else is taken as it is.

    Returns:
        [3, H, W, D] float32.
    """
    moved = np.moveaxis(rgb[..., :3], -1, 0).astype(np.float32)
    if rgb.dtype.kind == "f" and moved.size and moved.min() >= 0 and moved.max() <= 1:
        moved *= 255.0
    elif rgb.dtype == np.uint16 and moved.max(initial=0) > 255:
        moved /= 257.0
    return np.ascontiguousarray(moved)


def reason(error: BaseException) -> str:
    """Return what a library said, on one line and not endlessly long.

    Args:
        error: any exception.

    Returns:
        Its message, or its type where it has none.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 3] + "..."
