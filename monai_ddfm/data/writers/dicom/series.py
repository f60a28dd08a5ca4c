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
from monai_ddfm.sources import Moved, Source
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
        moved: the moving volumes, MetaTensors, and their weights, arrays.
        fused: [1, H, W, D] in [0, 1].
        rgb: [3, H, W, D] in [0, 1], or None.
    """

    fixed: Any
    moved: tuple[Moved, ...]
    fused: NDArray[Any]
    rgb: NDArray[Any] | None

    @property
    def sources(self) -> list[Any]:
        """The MRI and the moving volumes."""
        return [self.fixed, *(one.volume for one in self.moved)]

    def arrays(self) -> list[NDArray[Any] | None]:
        """Return all values."""
        weights = (one.weight for one in self.moved)
        return [*map(array_of, self.sources), self.fused, *weights, self.rgb]


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
    fixed, below = yield from _fixed(context, volumes.fixed, _window(case, "fixed", context))
    layers: list[Layer] = []
    pairs: list[list[ImageReference | None]] = [[reference] for reference in fixed]
    sizes = []
    for number, one in enumerate(volumes.moved):
        own = context.of(number)
        transform = transform_of(one.volume) if has_transform(one.volume) else None
        values = _moving_values(own, one.volume, _window(case, "moving", own))
        size = values.kept.pixels.shape[1:3]
        origins = sources_of_slices(context.grid, size, transform, own.moving)
        moved = yield from _emit(
            own.folder("moving_registered"), moving_series(own, values, origins)
        )
        layers.append(_moving_layer(values, moved, size, _color_table(case, one.source)))
        sizes.append(size)
        del values  # its pixels are not needed any more
        frames = moved
        if len(moved) == 1 < len(fixed):
            frames = [replace(moved[0], frame=k + 1) for k in range(len(fixed))]
        for pair, frame in zip(pairs, frames, strict=True):
            pair.append(frame)
    yield from _fusion(context, volumes, pairs)
    for number, (one, size) in enumerate(zip(volumes.moved, sizes, strict=True)):
        yield from _registration(context.of(number), one.volume, fixed, size)
    yield "presentation", presentation_object(context, below, layers)


def _registration(
    context: Context, volume: Any, fixed: Sequence[ImageReference], size: tuple[int, int]
) -> Objects:
    """Make the registration of a moving volume, if it came from DICOM."""
    if not has_transform(volume):
        return
    if context.moving is None or not context.moving.frame_of_reference:
        return
    transform = transform_of(volume)
    known = [reference for reference in context.moving.references if reference is not None]
    method = str(reports_of(volume).get("registration", {}).get("method", ""))
    yield (
        context.folder("registration"),
        registration_object(
            context, transform, method=method, fixed=fixed, moving=known, shape=size
        ),
    )


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
    for number, one in enumerate(volumes.moved):
        if one.weight is not None:
            own, share = context.of(number), context.grid.slices(one.weight)
            yield own.folder("weight"), weight_object(own, share, pairs, grey)


def _fixed(
    context: Context, volume: Any, window: Window | None
) -> Generator[tuple[str, Any], None, tuple[list[ImageReference], Layer]]:
    """Find the images that stand for the MRI, or write them; return them, slice by slice."""
    grey = array_of(volume)
    if len(grey) == 3:
        grey = np.asarray(luminance(torch.as_tensor(grey), dim=0))
    shown = window or robust_window(grey)
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


def _moving_values(context: Context, volume: Any, window: Window | None) -> MovingValues:
    array = array_of(volume)
    suv = reports_of(volume).get("reading", {}).get("suv", {})
    return moving_values(
        context,
        context.grid.slices(array),
        units=str(volume.meta.get("units") or ""),
        factor=suv.get("factor"),
        window=window or robust_window(array),
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


def _window(case: Mapping[Any, Any], role: str, context: Context) -> Window | None:
    """Return the window in which the MRI, "fixed", or a moving volume was fused."""
    source = context.records[0]
    if source.name and role == "moving":
        scaled = case.get(source.scaled_key)
        report = {} if scaled is None else reports_of(scaled).get("intensity", {})
    else:
        reports = collect_reports(case).get("intensity", {})
        report = by_role(reports, source.modality).get(role, {})
    if {"lower", "upper"} <= report.keys() and report["lower"] < report["upper"]:
        return float(report["lower"]), float(report["upper"])
    return None


def _color_table(case: Mapping[Any, Any], source: Source) -> str:
    """Return the table by which a moving volume was colored, ``""`` if by none."""
    for report in collect_reports(case).get("color", {}).values():
        table = report.get("color_tables", {}).get(source.name, report.get("color_table"))
        if table:
            return str(table)
    return ""
