r"""From slices in space to a rectangular grid.

Slice k has its first pixel at :math:`p_k`. With the unit vectors of rows r and columns c and the
normal :math:`n = r \times c`, its depth is :math:`p_k \cdot n` and it is displaced within its plane
by :math:`((p_k - p_0) \cdot r, (p_k - p_0) \cdot c)`. In a plain volume depths are equidistant
and displacements vanish. A tilted gantry displaces each slice a little more than the one before;
moving the slices back within their planes (linear interpolation, no blending between slices) makes
the grid rectangular without shearing it. Slices at uneven depths are interpolated linearly along
the normal, unless the unevenness is a missing slice.

What a header writes with one decimal cannot tell more than a tenth of a millimeter. A displacement
is a tilt only if it grows from slice to slice by more than the rounding of the header explains;
whatever else is within that rounding leaves the slices where they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_ddfm.data.readers.checks import check_shape
from monai_ddfm.data.readers.dicom_contrast import Contrast, echo_steps
from monai_ddfm.data.readers.dicom_frames import Frame
from monai_ddfm.data.readers.itk_formats import lps_to_ras
from monai_ddfm.data.readers.tags import text
from monai_ddfm.errors import InputError

__all__ = ["Grid", "onto_grid", "plan_grid", "sort_frames"]

SAME_PLACE_MM = 0.01
UNEVEN = 0.02
"""How far a slice may lie from its equidistant place, in slice spacings, without interpolation."""
UNEVEN_BY_ROUNDING = 0.25
"""The same where the header's own rounding explains it."""
DISPLACED = 0.05
"""How far a slice may be displaced within its plane, in pixels, without interpolation."""
GAP = 1.5
"""A gap of more than this many usual gaps has to be explained by thicker slices."""
_WIDEST_GAP_MM = 30.0
_ENOUGH = 4
"""So many slices tell by their scatter whether positions were rounded at all."""
_EXACT = 0.05
"""Scatter below this share of the rounding is that of positions that were not rounded."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """The rectangular grid for the slices of a series.

    Attributes:
        affine: [4, 4] voxel index to mm, RAS.
        shape: columns, rows, slices of the finished volume.
        shifts: [n, 2] where voxel (0, 0) of the grid lies in slice k, in pixels; None if nowhere
            else than in the slice.
        depths: [n] depth of the slices in grid spacings; None where they are equidistant.
        note: what had to be done and why, ``""`` for nothing.
    """

    affine: Array
    shape: tuple[int, int, int]
    shifts: Array | None
    depths: Array | None
    note: str


def sort_frames(frames: Sequence[Frame], path: Path) -> list[list[Frame]]:
    """Sort frames by place along the normal and, at each place, by kind and time.

    Args:
        frames: all frames of a series.
        path: what the user gave, for messages.

    Returns:
        One list per place, in the direction of the normal, all equally long and of the same kinds
        in the same order.

    Raises:
        InputError: a single slice, places that occur more often than others, or frames that
            nothing tells apart.
    """
    normal = np.cross(frames[0].orientation[:3], frames[0].orientation[3:])
    unique = {(_instance(f), f.index): f for f in frames}
    ordered = sorted(unique.values(), key=lambda f: float(f.position @ normal))
    places: list[list[Frame]] = []
    for frame in ordered:
        if places and (frame.position - places[-1][0].position) @ normal < SAME_PLACE_MM:
            places[-1].append(frame)
        else:
            places.append([frame])
    if len(places) < 2:
        alone = frames[0].file.path == path
        mend = "give the folder of its series" if alone else "give a series of slices"
        raise InputError(f"{path} holds a single slice, which is not a volume; {mend}.")
    _check_counts(places, path)
    steps = echo_steps(frame.contrast for frame in frames)

    def kind(frame: Frame) -> Contrast:
        return replace(frame.contrast, echo_time=steps[frame.contrast.echo_time])

    sorted_places = [sorted(place, key=lambda f: (kind(f), f.time)) for place in places]
    _check_kinds(sorted_places, [[kind(f) for f in place] for place in sorted_places], path)
    return sorted_places


def _check_counts(places: Sequence[Sequence[Frame]], path: Path) -> None:
    counts = [len(place) for place in places]
    if len(set(counts)) > 1:
        odd = next(p for p in places if len(p) != min(counts))
        raise InputError(
            f"{path} holds {len(odd)} different slices at the position of "
            f"{odd[0].name}, but {min(counts)} elsewhere; remove the duplicates."
        )
    for place in places:
        apart = max(float(np.linalg.norm(f.position - place[0].position)) for f in place)
        if apart > place[0].spacing[0]:
            raise InputError(
                f"{path} holds slices of one depth that lie {apart:.1f} mm beside each other; give "
                "a series of slices that lie above each other."
            )


def _check_kinds(
    places: Sequence[Sequence[Frame]], kinds: Sequence[Sequence[Contrast]], path: Path
) -> None:
    """Refuse a volume whose slices would be images of different kinds."""
    for place, found in zip(places, kinds, strict=True):
        alike = len(place) == 1 and _essence(found[0]) == _essence(kinds[0][0])
        if not alike and list(found) != list(kinds[0]):
            other = next((a, b) for a, b in zip(kinds[0], found, strict=True) if a != b)
            raise InputError(
                f"{path} mixes images of different kinds ({other[0]} at one place and {other[1]} "
                "at another); give a series of one kind."
            )
        for k, one in enumerate(place[1:], start=1):
            before = place[k - 1]
            if found[k] != found[k - 1]:
                continue
            if one.clock != before.clock or one.time == before.time:
                raise InputError(
                    f"{before.name} and {one.name} lie at one place, and nothing in their headers "
                    "tells apart what they show; give one of them."
                )


def _essence(kind: Contrast) -> Contrast:
    """Leave out what may differ within a volume: further words, and magnitude said or not."""
    return replace(kind, kind=(), part="" if kind.part == "magnitude" else kind.part)


def _instance(frame: Frame) -> str:
    return text(frame.file.header, "SOPInstanceUID") or str(frame.file.path)


def plan_grid(slices: Sequence[Frame], path: Path) -> Grid:
    """Lay a rectangular grid through the slices of one time frame.

    Args:
        slices: sorted along the normal.
        path: what the user gave, for messages.

    Returns:
        The grid.

    Raises:
        InputError: a slice is missing, or the slices do not lie above each other.
    """
    first = slices[0]
    row, column = first.orientation[:3], first.orientation[3:]
    normal = np.cross(row, column)
    away = np.array([f.position for f in slices]) - first.position
    depth = away @ normal
    even, step = _spacing(slices, depth, path)
    count = len(slices) if even else int(depth[-1] / step + 1e-3) + 1
    pixel = np.array([first.spacing[1], first.spacing[0]])
    aside = away @ np.stack([row, column], axis=1)
    notes = [] if even else [_uneven_note(depth, step)]
    shifts, size, corner = None, first.size, first.position
    note = _displacement(slices, depth, aside)
    if note:
        shifts, size, corner = _untilt(first, aside / pixel, path)
        notes.append(note)
    shape = (size[0], size[1], count)
    check_shape(shape, path)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * pixel[0], column * pixel[1], normal * step], axis=1)
    affine[:3, 3] = corner
    depths = None if even else depth / step
    return Grid(lps_to_ras(affine), shape, shifts, depths, "; ".join(notes))


def _displacement(slices: Sequence[Frame], depth: Array, aside: Array) -> str:
    """Say how slices are displaced within their planes, ``""`` if they lie above each other.

    Args:
        slices: sorted along the normal.
        depth: [n] mm along the normal.
        aside: [n, 2] mm within the plane.
    """
    first = slices[0]
    shared = DISPLACED * np.array([first.spacing[1], first.spacing[0]])
    if (np.abs(aside) <= shared).all():
        return ""
    grown = (depth @ aside) / (depth @ depth)
    drift = float(np.linalg.norm(grown)) * float(depth[-1])
    stray = float(np.linalg.norm(aside - depth[:, None] * grown, axis=1).max())
    rounding = _rounding(slices)
    exact = len(slices) >= _ENOUGH and stray < _EXACT * rounding
    allowed = max(float(shared.max()), 0.0 if exact else max(rounding, 2 * stray))
    allowed += _turn_of_rounding(slices) * float(depth[-1])
    moved = "each was moved back within its plane by linear interpolation"
    if drift > allowed:
        if text(first.file.header, "Modality").upper() == "CT":
            angle = math.degrees(math.atan(float(np.linalg.norm(grown))))
            kind = f"a gantry tilt of {angle:.1f} degrees"
        else:
            kind = f"by {drift:.2f} mm in all, although only a CT has a gantry to be tilted"
        return f"the slices are displaced against each other ({kind}); {moved}"
    if stray > max(rounding, float(shared.max())):
        return f"the slices are displaced against each other by up to {stray:.2f} mm; {moved}"
    return ""


def _rounding(slices: Sequence[Frame]) -> float:
    """Return how far, in mm, the rounding of the header may displace two positions at most."""
    return math.sqrt(3.0) * 10.0 ** -max(one.decimals[0] for one in slices)


def _turn_of_rounding(slices: Sequence[Frame]) -> float:
    """Return by how much, per mm of depth, rounded direction cosines may displace a slice."""
    digits = max(one.decimals[1] for one in slices)
    # Cosines that are whole are those of a plane along the axes, and exact.
    return math.sqrt(6.0) / 2 * 10.0**-digits if digits else 0.0


def _spacing(slices: Sequence[Frame], depth: Array, path: Path) -> tuple[bool, float]:
    """Return whether the depths are equidistant, and the spacing of the grid."""
    count = len(depth)
    mean = float(depth[-1]) / (count - 1)
    off = float(np.abs(depth - mean * np.arange(count)).max())
    # A missing slice shows by a third of the spacing, which no rounding may hide.
    rounded = min(_rounding(slices), UNEVEN_BY_ROUNDING * mean)
    if off <= max(UNEVEN * mean, SAME_PLACE_MM, rounded):
        return True, mean
    gaps = np.diff(depth)
    usual = float(np.median(gaps))
    for before, after, gap in zip(slices[:-1], slices[1:], gaps, strict=True):
        filled = min(before.thickness, after.thickness) > 0 and (
            gap <= GAP * max(before.thickness, after.thickness)
        )
        if gap > _WIDEST_GAP_MM or (gap > GAP * usual and not filled):
            missing = max(1, round(gap / usual) - 1)
            raise InputError(
                f"{path} lacks about {missing} slice(s) between {before.name} and "
                f"{after.name} (a gap of {gap:.2f} mm where {usual:.2f} mm is usual); "
                "fetch the whole series."
            )
    return False, float(gaps.min())


def _uneven_note(depth: Array, step: float) -> str:
    gaps = np.diff(depth)
    return (
        f"the slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart; they were interpolated "
        f"linearly to {step:.2f} mm"
    )


def _untilt(first: Frame, displaced: Array, path: Path) -> tuple[Array, tuple[int, int], Array]:
    """Return shifts, size and corner of a grid that holds every displaced slice."""
    low = np.floor(displaced.min(axis=0))
    grown = np.ceil(displaced.max(axis=0)) - low
    if (grown > np.array(first.size)).any():
        raise InputError(
            f"the slices of {path} do not lie above each other (they are displaced by up to "
            f"{int(grown.max())} pixels); give a series of parallel, aligned slices."
        )
    size = (first.size[0] + int(grown[0]), first.size[1] + int(grown[1]))
    row, column = first.orientation[:3], first.orientation[3:]
    corner = first.position + row * low[0] * first.spacing[1] + column * low[1] * first.spacing[0]
    return low - displaced, size, corner


def onto_grid(volume: npt.NDArray[Any], grid: Grid) -> npt.NDArray[np.float32]:
    """Bring a stack of slices onto its rectangular grid.

    Args:
        volume: [columns, rows, n] the slices as they are stored.
        grid: what `plan_grid` has found.

    Returns:
        [H, W, D] float32; what no slice covers has the volume's lowest value.
    """
    out = np.ascontiguousarray(volume, dtype=np.float32)
    if grid.shifts is not None:
        low = float(out.min())
        moved = np.empty((*grid.shape[:2], out.shape[2]), dtype=np.float32)
        for k, shift in enumerate(grid.shifts):
            moved[..., k] = ndimage.affine_transform(
                out[..., k],
                np.ones(2),
                offset=shift,
                output_shape=grid.shape[:2],
                order=1,
                mode="constant",
                cval=low,
            )
        out = moved
    if grid.depths is not None:
        places = np.minimum(np.arange(grid.shape[2], dtype=np.float64), grid.depths[-1])
        above = np.clip(np.searchsorted(grid.depths, places, side="right"), 1, out.shape[2] - 1)
        width = grid.depths[above] - grid.depths[above - 1]
        share = ((places - grid.depths[above - 1]) / width).astype(np.float32)
        out = out[..., above - 1] * (1 - share) + out[..., above] * share
    return np.ascontiguousarray(out, dtype=np.float32)
