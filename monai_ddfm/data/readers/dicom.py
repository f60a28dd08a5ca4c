"""DICOM series and multi-frame images, from files to one volume in its units."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.dicom_contrast import usable_kinds
from monai_ddfm.data.readers.dicom_files import Series, find_series
from monai_ddfm.data.readers.dicom_frames import Frame, frames_of
from monai_ddfm.data.readers.dicom_grid import Grid, onto_grid, plan_grid, sort_frames
from monai_ddfm.data.readers.dicom_pixels import FrameDecoder, is_color
from monai_ddfm.data.readers.dicom_values import ACTIVITY_UNITS
from monai_ddfm.data.readers.suv import Scaling, acquired_at, activity_doubts, pet_scaling
from monai_ddfm.data.readers.tags import UnreadableError, number, text, whole
from monai_ddfm.data.readers.volume import FrameStack, OpenedVolume, Volume, combine_frames
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["opened_dicom"]

_COUNTS = ("US", "{counts}", "{count}", "1", "COUNTS", "CNTS")


def opened_dicom(
    path: Path,
    *,
    modality: Modality | None = None,
    series: str | None = None,
    frames: Sequence[int] | None = None,
    allow_unknown_geometry: bool = False,
) -> OpenedVolume:
    """Find one series in a DICOM file or folder, and read its headers.

    Args:
        path: a multi-frame file, or a folder.
        modality: choose among series of this modality.
        series: SeriesInstanceUID, SeriesNumber or description.
        frames: 0-based time frames to average.
        allow_unknown_geometry: read frames without a place in space as voxels of 1 mm.

    Returns:
        What loads the volume: HU, SUVbw (where the header allows), counts, or relative values.

    Raises:
        InputError: what is there cannot be used.
    """
    chosen = find_series(path, modality=modality, series=series)
    found = frames_of(chosen, path, allow_unknown_geometry=allow_unknown_geometry)
    kind = modality or _modality(chosen.code)
    found, kind_notes = usable_kinds(found, kind, path)
    places = sort_frames(found, path)
    grid = plan_grid([place[0] for place in places], path)

    def load() -> Volume:
        array, scaling, frame_note = _loaded(places, grid, path, kind, frames)
        used = frame_note.get("used", [0])
        notes = [note for note in (grid.note, scaling.explanation, chosen.note) if note]
        notes += [*kind_notes, *_notes(places[0][0], kind, len(places)), *_comma_notes(found)]
        voxel_ml = float(abs(np.linalg.det(grid.affine[:3, :3]))) / 1000.0
        notes += activity_doubts(array, voxel_ml, scaling)
        report = {
            "format": "DICOM",
            "modality": str(kind or ""),
            "units": scaling.units,
            "relative": scaling.relative and scaling.units not in ("HU", "RGB"),
            "frames": frame_note,
            "series": _series_note(chosen, len(places)),
            "notes": notes,
        }
        if kind is Modality.PET or scaling.details:
            details = {**scaling.details, "reason": scaling.explanation}
            report["suv"] = {"factor": scaling.factor, **details}
        if stated := number(places[0][0].file.header, "SpatialResolution"):
            report["resolution_mm"] = stated
        meta = _meta(chosen, kind, scaling, [place[used[0]] for place in places])
        return Volume(array, grid.affine, meta, report)

    patient = text(chosen.header, "PatientID")
    return OpenedVolume(tuple(grid.shape), grid.affine, load, patient, chosen.description)


def _loaded(
    places: list[list[Frame]],
    grid: Grid,
    path: Path,
    kind: Modality | None,
    frames: Sequence[int] | None,
) -> tuple[npt.NDArray[np.float32], Scaling, dict[str, Any]]:
    """Return [C, H, W, D] in units, what they are, and a note on time frames."""
    header = places[0][0].file.header
    if is_color(header):
        return _color(places, grid, path), Scaling(1.0, "RGB"), {}
    scalings = _scalings(places, kind)
    values, frame_note = _values(places, scalings, path, modality=kind, frames=frames)
    if _is_inverted(header, kind):
        values = values.max() + values.min() - values
    return onto_grid(values, grid)[None], scalings(places[0][0]), frame_note


def _modality(code: str) -> Modality | None:
    try:
        return Modality.parse(code)
    except InputError:
        return None


def _is_inverted(header: Dataset, kind: Modality | None) -> bool:
    inverted = text(header, "PhotometricInterpretation").upper() == "MONOCHROME1"
    return inverted and not (kind and kind.row.measured)


def _scalings(places: list[list[Frame]], kind: Modality | None) -> Callable[[Frame], Scaling]:
    """Return what gives the scaling of a frame; for PET it may differ from frame to frame."""
    sample = places[0][0]
    if kind is Modality.CT:
        return _ct_scaling
    if kind is Modality.SPECT and not _is_activity(sample):
        return _counts
    if kind not in (Modality.PET, Modality.SPECT):
        return lambda _: Scaling(1.0, "")
    starts = [t for place in places for f in place if (t := _began(f))]
    first = min(starts) if starts else None
    known: dict[tuple[str, Path], Scaling] = {}

    def scaling(frame: Frame) -> Scaling:
        key = (frame.units, frame.file.path)
        if key not in known:
            known[key] = pet_scaling(
                frame.file.header,
                first=first,
                units=frame.units,
                rescaled=frame.rescaling.stated,
            )
        return known[key]

    return scaling


# Defined terms of RescaleType, DICOM PS3.3 C.11.1.1.2.
_RESCALE_TYPES = ("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")


def _ct_scaling(frame: Frame) -> Scaling:
    rescaling = frame.rescaling
    complete = rescaling.stated and rescaling.has_intercept
    if complete and frame.units in ("", "HU", "[hnsf'U]"):
        return Scaling(1.0, "HU")
    # Only a term that DICOM defines is quoted: anything else may be a name.
    type_of = f"of type {frame.units!r}" if frame.units in _RESCALE_TYPES else "of an unknown type"
    stated = f"calls the values {type_of}"
    if not complete:
        lacking = "intercept" if rescaling.stated else "slope"
        stated = f"calls the values without a rescale {lacking}"
    return Scaling(1.0, "relative", f"the header {stated}, so they are relative and not HU")


def _is_activity(frame: Frame) -> bool:
    return frame.units in ACTIVITY_UNITS or text(frame.file.header, "Units").upper() == "BQML"


def _counts(frame: Frame) -> Scaling:
    code = frame.units
    if code and frame.rescaling.stated and code not in _COUNTS:
        return Scaling(1.0, "relative", "the header's units are not known")
    return Scaling(1.0, "counts")


def _began(frame: Frame) -> datetime | None:
    """Return when a frame's acquisition began; the frame itself tells what cannot be read."""
    try:
        return acquired_at(frame.file.header)
    except UnreadableError:
        return None


def _values(
    places: list[list[Frame]],
    scalings: Callable[[Frame], Scaling],
    path: Path,
    *,
    modality: Modality | None,
    frames: Sequence[int] | None,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Return [columns, rows, n] in units, time frames combined."""
    decoder = FrameDecoder()
    found = {(s := scalings(frame)).units: s.explanation for place in places for frame in place}
    if len(found) > 1:
        why = "; ".join(text for text in found.values() if text)
        raise InputError(
            f"{path} mixes images in {' and '.join(sorted(found))}{f' ({why})' if why else ''}; "
            "give a series in one unit."
        )

    def load(t: int) -> npt.NDArray[np.float32]:
        columns, rows = places[0][0].size
        out = np.empty((columns, rows, len(places)), dtype=np.float32)
        for k, place in enumerate(places):
            out[..., k] = decoder(place[t]) * np.float32(scalings(place[t]).factor)
        return _without_padding(out)

    count = len(places[0])
    if count == 1:
        if frames is not None and list(frames) != [0]:
            raise InputError(f"{path} has a single time frame; leave frames={list(frames)} out.")
        return load(0), {}
    durations = [places[0][t].duration for t in range(count)]
    kinds = {frame.contrast for frame in places[0]}
    if len(kinds) > 1 and frames is None and modality in (Modality.PET, Modality.SPECT):
        shown = "; ".join(str(kind) for kind in sorted(kinds))
        raise InputError(
            f"{path} holds images of {len(kinds)} kinds at each place ({shown}), which must not be "
            f"averaged; choose of the frames 0 to {count - 1} with frames=."
        )
    return combine_frames(
        FrameStack(count, load, durations), path, modality=modality, frames=frames
    )


def _without_padding(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give what was never measured the lowest measured value."""
    padded = np.isnan(values)
    if padded.any() and not padded.all():
        values[padded] = np.nanmin(values)
    return values


def _color(places: list[list[Frame]], grid: Grid, path: Path) -> npt.NDArray[np.float32]:
    """Return [3, H, W, D] in 0..255."""
    if len(places[0]) > 1:
        raise InputError(f"{path} is a color series with several time frames; give one of them.")
    decoder = FrameDecoder()
    stack = np.stack([decoder(place[0]) for place in places], axis=2)
    if stack.ndim != 4:
        raise InputError(f"{path} mixes gray and color images; separate them.")
    return np.stack([onto_grid(stack[..., c], grid) for c in range(3)])


def _series_note(series: Series, slices: int) -> dict[str, Any]:
    return {
        "description": series.description,
        "number": text(series.header, "SeriesNumber"),
        "uid": series.uid,
        "slices": slices,
        "files": len(series.files),
    }


def _notes(sample: Frame, kind: Modality | None, slices: int) -> list[str]:
    header = sample.file.header
    notes = []
    if not sample.placed:
        notes.append("the header does not place the volume in space: voxels of 1 mm are assumed")
    announced = whole(header, "NumberOfSlices")
    if announced > slices:
        notes.append(f"the header announces {announced} slices, of which {slices} are there")
    if text(header, "PhotometricInterpretation").upper() == "MONOCHROME1":
        notes.append(
            "MONOCHROME1: values were inverted, so that bright is high"
            if _is_inverted(header, kind)
            else "MONOCHROME1 concerns the display only; values were kept"
        )
    return notes


def _comma_notes(frames: Sequence[Frame]) -> list[str]:
    names = sorted({name for frame in frames for name in frame.commas})
    return [f"decimal commas were read as points in {', '.join(names)}"] if names else []


def _position(header: Dataset) -> str:
    """Return how the patient lay: head, feet, left, right first; supine, prone, on a side."""
    word = text(header, "PatientPosition").upper()
    return word if re.fullmatch("[HFLRAP]F(S|P|DR|DL)", word) else ""


def _meta(
    series: Series, kind: Modality | None, scaling: Scaling, slices: list[Frame]
) -> dict[str, Any]:
    header = slices[0].file.header
    files = list(dict.fromkeys(str(frame.file.path) for frame in slices))
    return {
        "modality": str(kind or ""),
        "units": scaling.units,
        "patient_id": text(header, "PatientID"),
        "frame_of_reference_uid": text(header, "FrameOfReferenceUID"),
        "patient_position": _position(header),
        "body_part": text(header, "BodyPartExamined"),
        "series_instance_uid": series.uid,
        "source_files": json.dumps(files),
        "qform_code": int(slices[0].placed),
        "sform_code": int(slices[0].placed),
    }
