"""DICOM series and multi-frame images, from files to one volume in its units."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_ddfm.errors import InputError
from monai_ddfm.modality import Modality
from monai_ddfm.readers.dicom_files import Series, find_series
from monai_ddfm.readers.dicom_frames import Frame, frames_of
from monai_ddfm.readers.dicom_grid import Grid, onto_grid, plan_grid, sort_frames
from monai_ddfm.readers.dicom_pixels import FrameDecoder, is_color
from monai_ddfm.readers.suv import Scaling, acquired_at, pet_scaling
from monai_ddfm.readers.tags import text, whole
from monai_ddfm.readers.volume import FrameStack, Volume, combine_frames

__all__ = ["read_dicom"]

_MEASURED = (Modality.CT, Modality.PET, Modality.SPECT)


def read_dicom(
    path: Path,
    *,
    modality: Modality | None = None,
    series: str | None = None,
    frames: Sequence[int] | None = None,
    allow_unknown_geometry: bool = False,
) -> Volume:
    """Read one series from a DICOM file or folder.

    Args:
        path: a multi-frame file, or a folder.
        modality: choose among series of this modality.
        series: SeriesInstanceUID, SeriesNumber or description.
        frames: 0-based time frames to average.
        allow_unknown_geometry: read frames without a place in space as voxels of 1 mm.

    Returns:
        The volume: HU, SUVbw (where the header allows), counts, or relative values.

    Raises:
        InputError: what is there cannot be used.
    """
    chosen = find_series(path, modality=modality, series=series)
    found = frames_of(chosen, path, allow_unknown_geometry=allow_unknown_geometry)
    places = sort_frames(found, path)
    header = places[0][0].file.header
    kind = modality or _modality(chosen.code)
    grid = plan_grid([place[0] for place in places], path)
    if is_color(header):
        array, frame_note = _color(places, grid, path), dict[str, Any]()
        scaling = Scaling(1.0, "RGB")
    else:
        scalings = _scalings(places, kind)
        scaling = scalings(places[0][0])
        values, frame_note = _values(places, scalings, path, modality=kind, frames=frames)
        if _is_inverted(header, kind):
            values = values.max() + values.min() - values
        array = onto_grid(values, grid)[None]
    used = frame_note.get("used", [0])
    report = {
        "format": "DICOM",
        "modality": str(kind or ""),
        "units": scaling.units,
        "relative": scaling.relative and scaling.units not in ("HU", "RGB"),
        "frames": frame_note,
        "series": _series_note(chosen, len(places)),
        "notes": [note for note in (grid.note, scaling.explanation) if note]
        + _notes(places[0][0], kind, len(places)),
    }
    if kind is Modality.PET or scaling.details:
        report["suv"] = {"factor": scaling.factor, **scaling.details, "reason": scaling.explanation}
    meta = _meta(chosen, kind, scaling, [place[used[0]] for place in places])
    return Volume(array, grid.affine, meta, report)


def _modality(code: str) -> Modality | None:
    try:
        return Modality.parse(code)
    except InputError:
        return None


def _is_inverted(header: Dataset, kind: Modality | None) -> bool:
    inverted = text(header, "PhotometricInterpretation").upper() == "MONOCHROME1"
    return inverted and kind not in _MEASURED


def _scalings(places: list[list[Frame]], kind: Modality | None) -> Callable[[Frame], Scaling]:
    """Return what gives the scaling of a frame; for PET it may differ from frame to frame."""
    sample = places[0][0]
    if kind is Modality.CT:
        if sample.rescaled and sample.units in ("", "HU", "[hnsf'U]"):
            return lambda _: Scaling(1.0, "HU")
        stated = f"of type {sample.units}" if sample.rescaled else "without a rescale slope"
        why = f"the header calls the values {stated}, so they are relative and not HU"
        return lambda _: Scaling(1.0, "relative", why)
    if kind is Modality.SPECT and text(sample.file.header, "Units").upper() != "BQML":
        return lambda _: Scaling(1.0, "counts")
    if kind not in (Modality.PET, Modality.SPECT):
        return lambda _: Scaling(1.0, "")
    starts = [t for place in places for f in place if (t := acquired_at(f.file.header))]
    first = min(starts) if starts else None
    known: dict[tuple[str, Path], Scaling] = {}

    def scaling(frame: Frame) -> Scaling:
        key = (frame.units, frame.file.path)
        if key not in known:
            known[key] = pet_scaling(frame.file.header, first=first, units=frame.units)
        return known[key]

    return scaling


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
    units = {scalings(frame).units for place in places for frame in place}
    if len(units) > 1:
        raise InputError(
            f"{path} mixes images in {' and '.join(sorted(units))}; give a series in one unit."
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
        "series_instance_uid": series.uid,
        "source_files": json.dumps(files),
        "qform_code": int(slices[0].placed),
        "sform_code": int(slices[0].placed),
    }
