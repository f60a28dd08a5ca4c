"""All series of one run, from the volumes at the end of the chain."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_ddfm.data.readers.tags import text
from monai_ddfm.data.transform_files import has_transform, transform_of
from monai_ddfm.data.writers.dicom.blending import Layer, presentation_object
from monai_ddfm.data.writers.dicom.color import as_bytes, color_series
from monai_ddfm.data.writers.dicom.context import Context
from monai_ddfm.data.writers.dicom.grey import as_steps, fixed_series, fused_series
from monai_ddfm.data.writers.dicom.images import stored
from monai_ddfm.data.writers.dicom.moving import MovingValues, moving_series, moving_values
from monai_ddfm.data.writers.dicom.registration import registration_object
from monai_ddfm.data.writers.dicom.sources import ImageReference
from monai_ddfm.data.writers.dicom.transform import sources_of_slices
from monai_ddfm.data.writers.dicom.weight import weight_object
from monai_ddfm.modalities import Modality
from monai_ddfm.utils.color import color_table, luminance
from monai_ddfm.utils.reports import by_role, collect_reports, reports_of
from monai_ddfm.visualize.views import robust_window

__all__ = ["Volumes", "all_series", "array_of"]

Objects = Generator[tuple[str, Any], None, None]
Window = tuple[float, float]


@dataclass(frozen=True)
class Volumes:
    """The volumes of a case, all on the MRI's own grid.

    Attributes:
        fixed: MetaTensor [1, H, W, D], or [3, H, W, D] in color.
        moving: MetaTensor [1, H, W, D] in its own units, or [3, H, W, D] in 0..255.
        fused: [1, H, W, D] in [0, 1].
        weight: [1, H, W, D] in [0, 1], or None.
        rgb: [3, H, W, D] in [0, 1], or None.
    """

    fixed: Any
    moving: Any
    fused: NDArray[Any]
    weight: NDArray[Any] | None
    rgb: NDArray[Any] | None

    def arrays(self) -> list[NDArray[Any] | None]:
        """Return all values."""
        return [array_of(self.fixed), array_of(self.moving), self.fused, self.weight, self.rgb]


def array_of(volume: Any) -> NDArray[Any]:
    """Return a tensor's values on the CPU."""
    plain = torch.as_tensor(volume).detach().cpu().as_subclass(torch.Tensor)
    return np.asarray(plain)


def all_series(context: Context, volumes: Volumes, case: Mapping[Any, Any]) -> Objects:
    """Make all objects of a run.

    Args:
        context: of the run.
        volumes: of the case.
        case: the case, for the reports of its volumes.

    Yields:
        The role of an object, and the object.
    """
    windows, table = _windows(case, context.modality), _color_table(case)
    fixed, below = yield from _fixed(context, volumes.fixed, windows)
    moving = volumes.moving
    transform = transform_of(moving) if has_transform(moving) else None
    values = _moving_values(context, volumes.moving, windows)
    size = values.kept.pixels.shape[1:3]
    origins = sources_of_slices(context.grid, size, transform, context.moving)
    moved = yield from _emit("moving_registered", moving_series(context, values, origins))
    above = _moving_layer(values, moved, size, table)
    del values  # its pixels are not needed any more
    frames = moved
    if len(moved) == 1 < len(fixed):
        frames = [replace(moved[0], frame=k + 1) for k in range(len(fixed))]
    pairs: list[list[ImageReference | None]] = [list(p) for p in zip(fixed, frames, strict=True)]
    yield from _fusion(context, volumes, pairs)
    if transform is not None and context.moving is not None and context.moving.frame_of_reference:
        known = [reference for reference in context.moving.references if reference is not None]
        method = str(reports_of(volumes.moving).get("registration", {}).get("method", ""))
        yield (
            "registration",
            registration_object(
                context, transform, method=method, fixed=fixed, moving=known, shape=size
            ),
        )
    yield "presentation", presentation_object(context, below, above)


def _fusion(
    context: Context, volumes: Volumes, pairs: list[list[ImageReference | None]]
) -> Objects:
    """Make what comes out of the fusion."""
    grey = []
    for image in fused_series(context, context.grid.slices(volumes.fused, as_steps), pairs):
        yield "fused", image
        del image.PixelData  # the weight map asks for the rest alone
        grey.append(image)
    if volumes.rgb is not None:
        pixels = context.grid.slices(volumes.rgb, as_bytes)
        yield from (("fused_rgb", i) for i in color_series(context, "fused_rgb", pixels, pairs))
    if volumes.weight is not None:
        share = context.grid.slices(volumes.weight)
        yield "weight", weight_object(context, share, pairs, grey)


def _fixed(
    context: Context, volume: Any, windows: Mapping[str, Window]
) -> Generator[tuple[str, Any], None, tuple[list[ImageReference], Layer]]:
    """Find the images that stand for the MRI, or write them; return them, slice by slice."""
    grey = array_of(volume)
    if len(grey) == 3:
        grey = np.asarray(luminance(torch.as_tensor(grey), dim=0))
    shown = windows.get("fixed") or robust_window(grey)
    own = _own_images(context)
    slices = context.grid.slices(grey)
    size = (slices.shape[1], slices.shape[2])
    if own is not None and context.fixed is not None:
        line = context.fixed.frames[0].rescaling
        return own, Layer(own, size, line.slope, line.intercept, window=shown)
    values = stored(slices)
    low, high = ((end - values.intercept) / values.slope for end in shown)
    copies = yield from _emit("fixed", fixed_series(context, values, (low, high)))
    return copies, Layer(copies, size, window=(low, high))


def _own_images(context: Context) -> list[ImageReference] | None:
    """Return the source image of every slice, None where they cannot stand for the MRI.

    That is so if the MRI was not read from DICOM or must not be named, if its slices were moved
    onto the grid, or if no single window holds for them.
    """
    source, matches = context.fixed, context.grid.matches
    if source is None or context.deidentify or min(matches) < 0:
        return None
    if len(set(matches)) < len(matches):
        return None
    frames = [source.frames[match] for match in matches]
    if len({frame.rescaling for frame in frames}) > 1 or frames[0].rescaling.segments:
        return None
    if text(source.header, "PhotometricInterpretation").upper() != "MONOCHROME2":
        return None
    found = [source.references[match] for match in matches]
    known = [reference for reference in found if reference is not None]
    same = {(reference.series, reference.study) for reference in known}
    return known if len(known) == len(found) and len(same) == 1 else None


def _moving_values(context: Context, volume: Any, windows: Mapping[str, Window]) -> MovingValues:
    array = array_of(volume)
    suv = reports_of(volume).get("reading", {}).get("suv", {})
    return moving_values(
        context,
        context.grid.slices(array),
        units=str(volume.meta.get("units") or ""),
        factor=suv.get("factor"),
        window=windows.get("moving") or robust_window(array),
    )


def _moving_layer(
    values: MovingValues, images: Sequence[ImageReference], size: tuple[int, int], table: str
) -> Layer:
    if values.in_color:
        return Layer(images, size, window=None)
    if not values.rescaled:
        return Layer(images, size, window=values.window)
    kind = "HU" if values.units == "HU" else "US"
    colors = np.asarray(color_table(table)) if table else None
    kept = values.kept
    return Layer(images, size, kept.slope, kept.intercept, kind, values.window, colors)


def _emit(
    role: str, images: Iterable[Any]
) -> Generator[tuple[str, Any], None, list[ImageReference]]:
    """Yield images with their role; return references to them."""
    references = []
    for image in images:
        references.append(
            ImageReference(
                str(image.SOPClassUID),
                str(image.SOPInstanceUID),
                str(image.SeriesInstanceUID),
                str(image.StudyInstanceUID),
            )
        )
        yield role, image
    return references


def _windows(case: Mapping[Any, Any], modality: Modality) -> dict[str, Window]:
    """Return, by role, the window in which the volumes were fused."""
    reports = by_role(collect_reports(case).get("intensity", {}), modality)
    return {
        role: (float(report["lower"]), float(report["upper"]))
        for role, report in reports.items()
        if {"lower", "upper"} <= report.keys() and report["lower"] < report["upper"]
    }


def _color_table(case: Mapping[Any, Any]) -> str:
    """Return the table by which `moving` was colored, ``""`` if by none."""
    reports = collect_reports(case).get("color", {}).values()
    return next((str(r["color_table"]) for r in reports if "color_table" in r), "")
