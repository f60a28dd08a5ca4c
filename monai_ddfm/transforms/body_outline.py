r"""The outline of a trunk: what is brighter than air, without the table, filled slice by slice.

On gray levels themselves Otsu's threshold may part fat from muscle, or the bladder of a PET from
all else. Their cube root brings tissues together and leaves air where it is:

.. math::
    x = \operatorname{clip}\Big(\frac{v - v_1}{v_{99.9} - v_1},\,0,\,1\Big)^{1/3}, \qquad
    x > \operatorname{Otsu}(x)

with percentiles of the smoothed volume :math:`v`. What is thin, as the shell of a CT's table is,
goes in an opening; the largest part that is left is the trunk. It may be cut by the field of view
at both ends; arms that lie apart from it do not count.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

__all__ = ["Region", "body_mask"]

Region = Literal["head", "body"]

_DARK: Final = 0.6  # of the median of the body, as cube roots: what air stays below
_LEAST_SHARE: Final = 0.02  # of the field of view: with less, nothing has been found

Array = npt.NDArray[np.float64]


def body_mask(volume: Array, *, thin: int = 2) -> npt.NDArray[np.bool_]:
    """Find the trunk.

    Args:
        volume: finite intensities [H, W, D], axial slices last.
        thin: what is at most about twice as many voxels thick is no body, as a CT's table.

    Returns:
        The mask. It is true everywhere if the rest does not look like air, as when the field of
        view lies inside the body.
    """
    everything = np.ones(volume.shape, dtype=bool)
    smooth = ndimage.gaussian_filter(volume, 1.0)  # noise would be taken for darker tissue
    low, high = np.percentile(smooth, [1, 99.9])
    if not low < high:
        return everything
    levels = np.cbrt(np.clip((smooth - low) / (high - low), 0, 1))
    bright = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(levels), 0, 1, 256))
    bright = bright > 0
    # Air is dark in comparison with tissue; the darker half of a tissue contrast is not.
    if bright.all() or np.median(levels[~bright]) > _DARK * np.median(levels[bright]):
        return everything
    mask = _largest(_opened(bright, thin))
    if not np.any(mask):
        return everything
    in_plane = ndimage.generate_binary_structure(volume.ndim, 1)
    if volume.ndim == 3:
        in_plane[:, :, [0, 2]] = False
    filled = ndimage.binary_fill_holes(mask, structure=in_plane)
    return everything if filled.all() or filled.mean() < _LEAST_SHARE else np.asarray(filled)


def _opened(mask: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    """Open; beyond the field of view, what is cut by it goes on."""
    padded = np.pad(mask, times, mode="edge")
    opened = ndimage.binary_opening(padded, iterations=times) if times else padded
    return np.asarray(opened[tuple(slice(times, times + n) for n in mask.shape)])


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
