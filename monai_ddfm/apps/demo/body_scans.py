"""What scanners see of a simulated trunk: T2- or T1-weighted MRI, CT with its table, FDG PET.

As in `monai_ddfm.apps.demo.modalities`, but for the coil: a body lies farther from some of its
elements, and its field is stronger; and for the table, which a CT shows, and which does not move
with the patient. The CT and the PET see more of the trunk than the MRI, arms among it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from monai_ddfm.apps.demo.anatomy import Anatomy
from monai_ddfm.apps.demo.fields import Matrix
from monai_ddfm.apps.demo.modalities import Grid, Tracer, Volume, scan_ct, scan_emission, scan_mri

__all__ = ["BODY_GRIDS", "body_moving", "body_mri"]

BODY_GRIDS: Final = {
    "MR": Grid((128, 92, 56), (3.0, 3.0, 4.0), (0.0, 0.0, 0.0)),
    "CT": Grid((150, 110, 72), (3.6, 3.6, 3.6), (4.0, -8.0, 6.0)),
    "PET": Grid((136, 96, 64), (4.0, 4.0, 4.0), (-3.0, -4.0, -5.0)),
}
"""The scanners' voxels. The MRI is 384 x 276 x 224 mm large."""

_T2 = {"fat": 780.0, "muscle": 210.0, "bone": 45.0, "marrow": 560.0, "organ": 470.0}
_T2 |= {"urine": 1350.0, "blood": 120.0, "bowel": 520.0, "hot": 620.0}
_T1 = {"fat": 1000.0, "muscle": 400.0, "bone": 50.0, "marrow": 640.0, "organ": 450.0}
_T1 |= {"fluid": 190.0, "blood": 260.0, "bowel": 420.0, "hot": 330.0}
_T1 |= {"liver": 560.0, "kidney": 450.0, "urine": 170.0}
_SIGNAL = {"pelvis": _T2, "abdomen": _T1}
_TEXTURE, _COIL, _SIGMA = 0.06, 0.22, 22.0

_HU = {"air": -1000.0, "fat": -100.0, "muscle": 55.0, "bone": 850.0, "marrow": 220.0}
_HU |= {"organ": 42.0, "fluid": 6.0, "blood": 45.0, "bowel": 30.0, "hot": 62.0}
_HU |= {"liver": 62.0, "kidney": 34.0, "urine": 4.0}
_NOISE_HU = 12.0
# The table: half its width, how far below the center of the body its surface lies, how thick.
_TABLE_MM: Final = (200.0, 126.0, 42.0)
_SHELL_MM, _SHELL_HU, _FOAM_HU = 5.0, 60.0, -930.0

# Bq/ml; 5000 are an SUV of 1. A voxel of 4 mm holds 18 counts in muscle.
_FDG = Tracer(
    {
        **{"fat": 1200.0, "muscle": 3000.0, "bone": 2500.0, "marrow": 6500.0, "organ": 6000.0},
        **{"fluid": 1500.0, "blood": 8000.0, "bowel": 6500.0, "liver": 11000.0},
        **{"kidney": 17000.0, "urine": 45000.0, "hot": 36000.0},
    },
    fwhm=7.0,
    filter_fwhm=5.0,
    counts_per_ml=0.09,
)


def body_mri(anatomy: Anatomy, name: str, seed: int, scale: float) -> Volume:
    """Return the MRI: 3 x 3 x 4 mm at scale 1, float32, arbitrary units.

    Args:
        anatomy: from `build_body`.
        name: "pelvis" is T2-weighted, "abdomen" T1-weighted.
        seed: chooses coil field and noise.
        scale: factor on the edges of the voxels.
    """
    signal = anatomy.mix(_SIGNAL[name]) * (1 + np.float32(_TEXTURE) * anatomy.template)
    grid = BODY_GRIDS["MR"].scaled(scale)
    rng = np.random.default_rng([seed, 1, 1])
    return scan_mri(anatomy, signal, grid, rng, coil=_COIL, sigma=_SIGMA)


def body_moving(
    anatomy: Anatomy, modality: str, seed: int, scale: float, truth: sitk.Euler3DTransform
) -> Volume:
    """Return the scan that is to be registered: CT (HU, 3.6 mm) or PET (Bq/ml, 4 mm).

    Args:
        anatomy: from `build_body`.
        modality: CT or PET.
        seed: chooses the noise.
        scale: factor on the edges of the voxels.
        truth: maps points of this scan to points of the MRI, in LPS mm.
    """
    grid = BODY_GRIDS[modality].scaled(scale)
    rng = np.random.default_rng([seed, 2, *modality.encode()])
    if modality == "PET":
        return scan_emission(anatomy, grid, truth, rng, _FDG)
    volume = scan_ct(anatomy, _HU, grid, truth, rng, noise=_NOISE_HU)
    data = volume.data.astype(np.float32)
    table = _table(grid)
    # The mattress gives way: where the patient is, there is no table.
    data = np.where(data < -500, np.maximum(data, table), data)
    return Volume(np.rint(data).astype(np.int16), grid.affine)


def _table(grid: Grid) -> Matrix:
    """Return the table in HU, [X, Y, 1]: foam in a shell that sags to its middle."""
    half, below, thick = _TABLE_MM
    affine = grid.affine
    x = affine[0, 0] * np.arange(grid.shape[0]) + affine[0, 3]
    y = affine[1, 1] * np.arange(grid.shape[1]) + affine[1, 3]
    surface = -below + 25.0 * (x / half)[:, None] ** 2
    depth = surface - y
    inside = (np.abs(x)[:, None] < half) & (depth > 0) & (depth < thick)
    core = ndimage.binary_erosion(inside, iterations=max(1, round(_SHELL_MM / grid.spacing[0])))
    return np.where(core, _FOAM_HU, np.where(inside, _SHELL_HU, -1000.0))[..., None]
