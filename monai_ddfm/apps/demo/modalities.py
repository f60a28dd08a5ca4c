"""From one anatomy to what four scanners see of it.

T1 MRI (arbitrary units): tissue signal s, smooth bias b and Rician noise,

    m = | b s + n1 + i n2 |,   n1, n2 ~ N(0, sigma^2).

CT (Hounsfield units): tissue HU at the scanner's resolution plus noise correlated in the plane.

PET (Bq/ml) and SPECT (arbitrary counts): activity a, whose total resolution F (full width at half
maximum) is shared between the detector, before counting, and the filter of the reconstruction,
after it, so that noise has the grain of real images:

    counts ~ Poisson(q G_detector * a),   image = G_filter * counts / q,
    F^2 = F_detector^2 + F_filter^2.

The head of PET, CT and SPECT lies elsewhere than that of the MRI: the image at the point p of the
scanner shows the anatomy at T(p), and the anatomy's own points are the MRI's. T is rigid, and it is
what is written as the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from monai_ddfm.apps.demo.anatomy import Anatomy
from monai_ddfm.apps.demo.fields import Array, Matrix, smooth_field

__all__ = [
    "MOVING",
    "TRACERS",
    "Grid",
    "Volume",
    "make_moving",
    "make_mri",
    "rigid_truth",
    "scan_ct",
    "scan_emission",
    "scan_mri",
    "true_uptake",
]

MOVING = ("PET", "CT", "SPECT")

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))

_T1 = {"gray": 545.0, "white": 1000.0, "csf": 230.0, "compact": 50.0, "diploe": 420.0}
_T1 |= {"fat": 1150.0, "soft": 470.0, "hot": 700.0}
_T1 |= {"seen": 700.0, "marked": 230.0}  # spheres, see `monai_ddfm.apps.demo.spheres`
_T1_TEMPLATE, _T1_DETAIL, _T1_SIGMA, _T1_BIAS = 1000.0, 0.4, 22.0, 0.07

_HU = {"air": -1000.0, "gray": 38.0, "white": 28.0, "csf": 7.0, "compact": 1450.0, "diploe": 600.0}
_HU |= {"fat": -95.0, "soft": 48.0, "hot": 44.0}
_HU_NOISE, _HU_FWHM = 5.0, 1.0


@dataclass(frozen=True)
class Volume:
    """A scalar image: voxels [X, Y, Z] and the 4 x 4 affine from voxel index to RAS mm."""

    data: NDArray[np.generic]
    affine: Matrix


@dataclass(frozen=True)
class Grid:
    """Voxels of a scanner, axes along the body's, first voxel right, anterior and below."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    center: tuple[float, float, float]

    def scaled(self, scale: float) -> Grid:
        """Return the grid of the same extent with voxels `scale` times as large."""
        x, y, z = (max(1, round(n / scale)) for n in self.shape)
        a, b, c = (s * scale for s in self.spacing)
        return Grid((x, y, z), (a, b, c), self.center)

    @property
    def affine(self) -> Matrix:
        """Voxel index to RAS mm; the first two axes run to the left and back, as in DICOM."""
        affine = np.diag([-self.spacing[0], -self.spacing[1], self.spacing[2], 1.0])
        affine[:3, 3] = self.center - affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return affine


@dataclass(frozen=True)
class Tracer:
    """What an emission scanner sees: uptake, resolution in mm and counts per ml and unit uptake."""

    uptake: Mapping[str, float]
    fwhm: float
    filter_fwhm: float
    counts_per_ml: float


MRI_GRID = Grid((180, 216, 66), (1.0, 1.0, 2.0), (0.0, -17.0, 34.0))
GRIDS = {
    "PET": Grid((96, 96, 66), (2.5, 2.5, 2.5), (3.0, -12.0, 32.0)),
    "SPECT": Grid((64, 64, 44), (3.75, 3.75, 3.75), (-4.0, -14.0, 30.0)),
    "CT": Grid((256, 256, 64), (0.9, 0.9, 2.5), (2.0, -20.0, 34.0)),
}
# Gray : white : fluid = 4 : 1 : 0.2. A voxel of 2.5 mm holds 34 counts in gray matter, and one of
# 3.75 mm in SPECT 21, which leaves some 5 and 6 % of noise behind the filters.
FDG = Tracer(
    {
        **{"gray": 16000.0, "white": 4000.0, "csf": 800.0, "compact": 600.0, "diploe": 1800.0},
        **{"fat": 700.0, "soft": 2200.0, "hot": 27000.0, "cold": 3000.0},
        **{"seen": 16000.0, "hidden": 16000.0},
    },
    fwhm=6.0,
    filter_fwhm=4.0,
    counts_per_ml=2200.0 / 16000.0,
)
HMPAO = Tracer(
    {
        **{"gray": 1000.0, "white": 330.0, "csf": 40.0, "compact": 40.0, "diploe": 120.0},
        **{"fat": 80.0, "soft": 170.0, "hot": 1500.0, "cold": 200.0},
        **{"seen": 1000.0, "hidden": 1000.0},
    },
    fwhm=10.0,
    filter_fwhm=6.0,
    counts_per_ml=400.0 / 1000.0,
)
TRACERS = {"PET": FDG, "SPECT": HMPAO}


def rigid_truth(
    seed: int, modality: str, center: Sequence[float] | None = None
) -> sitk.Euler3DTransform:
    """Return the rigid transform of one scan: 2 to 6 degrees and 3 to 9 mm on every axis.

    Args:
        seed: the subject.
        modality: PET, CT or SPECT; each has its own transform.
        center: of the moving grid, RAS mm; None is the head's.

    Returns:
        Transform in ITK's LPS mm that maps a point of the moving image to the point of the T1 that
        shows the same anatomy. Its center is the center of the moving grid.
    """
    rng = _rng(seed, modality, 0)
    size = np.concatenate([np.deg2rad(rng.uniform(2, 6, 3)), rng.uniform(3, 9, 3)])
    angles_and_shift = size * rng.choice([-1.0, 1.0], 6)
    middle = _LPS[:3, :3] @ np.array(GRIDS[modality].center if center is None else center)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle.tolist())
    transform.SetParameters(angles_and_shift.tolist())
    return transform


def make_mri(anatomy: Anatomy, seed: int, scale: float, *, noise: bool = True) -> Volume:
    """Return the T1: 180 x 216 x 66 voxels of 1 x 1 x 2 mm at scale 1, float32, arbitrary units.

    Args:
        anatomy: the head.
        seed: chooses bias field and noise.
        scale: factor on the edges of the voxels.
        noise: whether there is any.
    """
    grid = MRI_GRID.scaled(scale)
    signal = anatomy.mix(_T1)
    brain = anatomy.tissues["gray"] + anatomy.tissues["white"]
    signal += _T1_DETAIL * brain * (_T1_TEMPLATE * anatomy.template - signal)
    rng = _rng(seed, "MR", 1)
    sigma = _T1_SIGMA if noise else 0.0
    return scan_mri(anatomy, signal, grid, rng, coil=_T1_BIAS, sigma=sigma)


def make_moving(
    anatomy: Anatomy,
    modality: str,
    seed: int,
    scale: float,
    truth: sitk.Euler3DTransform,
    *,
    noise: bool = True,
) -> Volume:
    """Return the scan that is to be registered to the T1.

    Args:
        anatomy: the head.
        modality: PET (Bq/ml, 2.5 mm, float32), SPECT (counts, 3.75 mm, float32) or CT (HU,
            0.9 x 0.9 x 2.5 mm, int16).
        seed: chooses the noise.
        scale: factor on the edges of the voxels.
        truth: maps points of this scan to points of the T1, in LPS mm.
        noise: whether there is any.
    """
    grid = GRIDS[modality].scaled(scale)
    rng = _rng(seed, modality, 1)
    if modality == "CT":
        return scan_ct(anatomy, _HU, grid, truth, rng, noise=_HU_NOISE if noise else 0.0)
    return scan_emission(anatomy, grid, truth, rng if noise else None, TRACERS[modality])


def true_uptake(anatomy: Anatomy, values: Mapping[str, float], scale: float) -> Volume:
    """Return what a scanner would show without blur and noise, on the grid of the T1.

    Args:
        anatomy: the head.
        values: of the tissues, such as the uptake of a tracer.
        scale: factor on the edges of the voxels.
    """
    grid = MRI_GRID.scaled(scale)
    uptake = anatomy.mix(values)
    uptake = ndimage.gaussian_filter(uptake, _partial_volume(grid, anatomy))
    return Volume(_sample(uptake, anatomy, grid, np.eye(4)), grid.affine)


def scan_mri(
    anatomy: Anatomy,
    signal: Array,
    grid: Grid,
    rng: np.random.Generator,
    *,
    coil: float,
    sigma: float,
) -> Volume:
    """Return an MRI of a signal.

    Args:
        anatomy: on whose grid the signal is.
        signal: [X, Y, Z], any units.
        grid: of the scanner.
        rng: chooses bias field and noise.
        coil: deviation of the logarithm of the bias field.
        sigma: of the noise, in the units of the signal.
    """
    signal = ndimage.gaussian_filter(signal, _partial_volume(grid, anatomy))
    image = _sample(signal, anatomy, grid, np.eye(4))
    image *= np.exp(coil * smooth_field(rng, grid.shape, 3))
    noise = sigma * rng.standard_normal((2, *grid.shape), dtype=np.float32)
    return Volume(np.hypot(image + noise[0], noise[1]), grid.affine)


def scan_ct(
    anatomy: Anatomy,
    hounsfield: Mapping[str, float],
    grid: Grid,
    truth: sitk.Euler3DTransform,
    rng: np.random.Generator,
    *,
    noise: float,
) -> Volume:
    """Return a CT, int16 in HU.

    Args:
        anatomy: what is scanned.
        hounsfield: of the tissues.
        grid: of the scanner.
        truth: maps points of the scan to points of the anatomy, in LPS mm.
        rng: chooses the noise.
        noise: its deviation in HU.
    """
    sigma = np.hypot(_partial_volume(grid, anatomy), _HU_FWHM / _FWHM_PER_SIGMA / anatomy.voxel)
    signal = ndimage.gaussian_filter(anatomy.mix(hounsfield), sigma)
    image = _sample(signal, anatomy, grid, _to_anatomy(truth))
    grain = rng.standard_normal(grid.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, (0.7, 0.7, 0.0))
    image += noise / grain.std() * grain
    return Volume(np.clip(np.rint(image), -1024, 3071).astype(np.int16), grid.affine)


def scan_emission(
    anatomy: Anatomy,
    grid: Grid,
    truth: sitk.Euler3DTransform,
    rng: np.random.Generator | None,
    tracer: Tracer,
) -> Volume:
    """Return a PET or SPECT, float32; arguments as of `scan_ct`, and without `rng` no noise."""
    detector = np.sqrt(tracer.fwhm**2 - tracer.filter_fwhm**2) / _FWHM_PER_SIGMA
    activity = ndimage.gaussian_filter(anatomy.mix(tracer.uptake), detector / anatomy.voxel)
    image = _sample(activity, anatomy, grid, _to_anatomy(truth))
    counts = tracer.counts_per_ml * np.prod(grid.spacing) / 1000.0
    noisy = image
    if rng is not None:
        noisy = rng.poisson(np.maximum(image, 0) * counts).astype(np.float32) / np.float32(counts)
    sigma = tracer.filter_fwhm / _FWHM_PER_SIGMA / np.array(grid.spacing)
    data = np.asarray(ndimage.gaussian_filter(noisy, sigma), dtype=np.float32)
    return Volume(data, grid.affine)


def _to_anatomy(truth: sitk.Euler3DTransform) -> Matrix:
    """Return the [4, 4] matrix of a transform, for points in RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(truth.GetMatrix(), (3, 3))
    matrix[:3, 3] = truth.TransformPoint((0.0, 0.0, 0.0))
    return np.asarray(_LPS @ matrix @ _LPS)


def _sample(image: Array, anatomy: Anatomy, grid: Grid, to_anatomy: Matrix) -> Array:
    """Sample linearly on a scanner's grid; below the modelled box the neck goes on."""
    index = np.linalg.inv(anatomy.affine) @ to_anatomy @ grid.affine
    sampled = ndimage.affine_transform(
        image, index[:3, :3], index[:3, 3], output_shape=grid.shape, order=1, mode="nearest"
    )
    return np.asarray(sampled, dtype=np.float32)


def _partial_volume(grid: Grid, anatomy: Anatomy) -> Matrix:
    """Return the deviation, in voxels of the anatomy, of a Gaussian like a voxel of the scanner.

    A box has a deviation of 1 / sqrt(12) of its edge; that of the anatomy's own voxel is there.
    """
    squares = np.square(grid.spacing) - anatomy.voxel**2
    return np.asarray(np.sqrt(np.maximum(squares, 0) / 12) / anatomy.voxel)


def _rng(seed: int, modality: str, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1 + ("MR", *MOVING).index(modality), purpose])
