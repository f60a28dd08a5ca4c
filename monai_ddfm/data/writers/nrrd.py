"""The maps of a run as one NRRD file, as 3D Slicer and ITK read it.

All maps are the components of one volume, float32 in their own units and ranges, so that nothing
can be mixed up or lost. The header names them in their order (``ddfm_components``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from monai_ddfm.data.writers.maps import RECOVERED, Maps
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.files import NOTICE, atomic_path

__all__ = ["NRRD_NAMES", "write_nrrd_maps"]

NRRD_NAMES: Final = ("fusion.nrrd",)


def write_nrrd_maps(maps: Maps, place: Callable[[str], Path]) -> None:
    """Write all maps into one file.

    Args:
        maps: what to write.
        place: gives the path for a name.

    Raises:
        InputError: the file cannot be written.
    """
    parts = dict(_components(maps))
    # SimpleITK counts axes backwards, and its physical space is LPS.
    voxels = np.stack([np.ascontiguousarray(one.T) for one in parts.values()], axis=-1)
    image = sitk.GetImageFromArray(voxels, isVector=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ as_array(maps.fixed.affine).astype(np.float64)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(edges.tolist())
    image.SetDirection((affine[:3, :3] / edges).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetMetaData("ddfm_components", " ".join(parts))
    image.SetMetaData("ddfm_notice", NOTICE)
    with atomic_path(place(NRRD_NAMES[0])) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(f"ITK cannot write it: {str(error).splitlines()[-1].strip()}") from error


def _components(maps: Maps) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield name and voxels [H, W, D] of every component."""
    named: dict[str, Any] = {"fused": np.clip(as_array(maps.fused), 0, 1)}
    named |= {one.source.weight_key: one.weight for one in maps.moved}
    named |= {"fused_rgb": maps.rgb, **maps.spread}
    named |= {one.source.stability_key: one.stability for one in maps.moved}
    named |= {"fixed": maps.fixed}
    named |= {one.source.called("moving_registered"): one.volume for one in maps.moved}
    named |= {RECOVERED: maps.recovered}
    for name, data in named.items():
        if data is None:
            continue
        channels = as_array(data).astype(np.float32)
        endings = ("_red", "_green", "_blue") if len(channels) == 3 else ("",)
        yield from ((f"{name}{end}", one) for end, one in zip(endings, channels, strict=True))
