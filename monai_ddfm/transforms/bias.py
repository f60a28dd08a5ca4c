r"""Removal of the smooth gain that receiver coils leave on an MRI.

The model is :math:`v = b\,u` with a slowly varying field :math:`b`. N4 [1] looks for the B-spline
:math:`\log b` that makes the histogram of :math:`\log u` sharp. It runs on a shrunken copy, since
the field is smooth; the volume itself is divided by the field at full resolution.

References:
    [1] Tustison et al.: N4ITK: improved N3 bias correction. IEEE TMI 29 (2010) 1310.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.body_outline import Region
from monai_ddfm.transforms.histogram import outline_mask

__all__ = ["correct_bias"]


def correct_bias(
    volume: torch.Tensor,
    *,
    spacing: Sequence[float],
    shrink_factor: int = 4,
    iterations: Sequence[int] = (50, 50, 50),
    region: Region = "head",
) -> torch.Tensor:
    """Divide an MRI by the bias field that N4 finds.

    Args:
        volume: finite intensities [H, W] or [H, W, D] that are not all equal, any units.
        spacing: voxel size in mm along each axis.
        shrink_factor: voxels per axis that one voxel of the copy stands for; short axes are shrunk
            less.
        iterations: the most on each level of the fit.
        region: what is shown, "head" or "body".

    Returns:
        The corrected volume in the same units; its mean inside the outline has not changed.

    Raises:
        InputError: if the shrink factor is below 1.
    """
    if shrink_factor < 1:
        raise InputError(f"the shrink factor of N4 is {shrink_factor}; give 1 or more.")
    lowest = volume.min()
    array = (volume - lowest).detach().cpu().numpy().astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(size) for size in spacing][::-1])
    small = sitk.Shrink(image, [min(shrink_factor, max(1, n // 32)) for n in image.GetSize()])
    coarse = sitk.GetArrayFromImage(small).astype(np.float64)
    inside = outline_mask(coarse, region) & (coarse > 0)
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(small)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    # Threads add up in another order each time, which changes the last digits.
    corrector.SetNumberOfThreads(1)
    corrector.SetMaximumNumberOfIterations([int(count) for count in iterations])
    corrected = sitk.GetArrayFromImage(corrector.Execute(small, mask))
    gain = float(coarse[inside].mean() / corrected[inside].mean())
    field = np.exp(sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)))
    return torch.from_numpy(gain * array / field).to(volume) + lowest
