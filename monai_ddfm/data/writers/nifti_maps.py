"""The maps of a run as NIfTI, a file for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from monai_ddfm.data.writers.maps import RECOVERED, SPREAD, STABILITY, Maps
from monai_ddfm.data.writers.nifti import write_nifti
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.visualize.views import robust_window

__all__ = ["NIFTI_NAMES", "write_nifti_maps"]

NIFTI_NAMES: Final = (
    "fused.nii.gz",
    "fused_rgb.nii.gz",
    "weight.nii.gz",
    "fused_std.nii.gz",
    "fused_low.nii.gz",
    "fused_high.nii.gz",
    "weight_stability.nii.gz",
    "moving_registered.nii.gz",
    f"{RECOVERED}.nii.gz",
)


def write_nifti_maps(maps: Maps, place: Callable[[str], Path]) -> None:
    """Write every map that is there, with the header of the MRI.

    Args:
        maps: what to write.
        place: gives the path for a name.

    Raises:
        InputError: a file cannot be written.
    """

    def write(name: str, data: Any, about: str, shown: tuple[float, float] | None = None) -> None:
        write_nifti(
            place(name),
            data,
            maps.fixed.affine,
            template=maps.fixed.meta,
            description=about,
            display_range=shown,
        )

    write("fused.nii.gz", np.clip(as_array(maps.fused), 0, 1), "DDFM fusion, luminance", (0, 1))
    for one in maps.moved:
        if one.weight is not None:
            about = f"share of {one.source.title} in the fusion"
            write(one.source.file("weight.nii.gz"), one.weight, about, (0, 1))
    if maps.rgb is not None:
        write("fused_rgb.nii.gz", maps.rgb, "DDFM fusion, color")
    for key, data in maps.spread.items():
        write(f"{key}.nii.gz", data, SPREAD[key], None if key == "fused_std" else (0, 1))
    for one in maps.moved:
        if one.stability is not None:
            # A header has room for 40 letters.
            of_several = f"agreement on the weight of {one.source.title}"
            about = of_several if one.source.name else STABILITY
            write(one.source.file("weight_stability.nii.gz"), one.stability, about, (0, 1))
        moving = as_array(one.volume)
        in_color = len(moving) == 3
        moving = np.rint(np.clip(moving, 0, 255)).astype(np.uint8) if in_color else moving
        shown = None if in_color else robust_window(moving)
        name = one.source.file("moving_registered.nii.gz")
        write(name, moving, f"{one.source.title} on the MRI grid", shown)
        if maps.recovered is not None:
            about = f"ESTIMATE, {one.source.title} recovered"
            write(f"{RECOVERED}.nii.gz", maps.recovered, about, shown)
