r"""How much a fused image varies: standard deviation, spatial frequency, average gradient.

.. math::
    \mathrm{SD} &= \sqrt{\overline{(f - \bar f)^2}} \\
    \mathrm{SF} &= \sqrt{\overline{(f_{m, n+1} - f_{m, n})^2} +
                         \overline{(f_{m+1, n} - f_{m, n})^2}} \\
    \mathrm{AG} &= \overline{\sqrt{(g_x^2 + g_y^2) / 2}}

with central differences :math:`g`, one-sided at the border. All are in gray levels of 0 to 255.
None knows the sources: noise raises each of them.

References:
    [1] A. M. Eskicioglu, P. S. Fisher, Image quality measures and their performance, IEEE
        Transactions on Communications 43 (1995): spatial frequency.
    [2] G. Cui et al., Detail preserved fusion of visible and infrared images, Optics Communications
        341 (2015): average gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["average_gradient", "spatial_frequency", "standard_deviation"]


def standard_deviation(image: Tensor) -> Tensor:
    """Return the standard deviation of all pixels (not corrected for their number).

    Args:
        image: [N, H, W].

    Returns:
        [N].
    """
    return image.flatten(1).std(dim=1, correction=0)


def spatial_frequency(image: Tensor) -> Tensor:
    """Return the root of the mean square differences of neighbors in rows and in columns.

    Args:
        image: [N, H, W], at least 2 x 2 pixels.

    Returns:
        [N].

    Raises:
        InputError: if the image is smaller.
    """
    _check_size(image)
    rows = image.diff(dim=2).square().flatten(1).mean(dim=1)
    columns = image.diff(dim=1).square().flatten(1).mean(dim=1)
    return (rows + columns).sqrt()


def average_gradient(image: Tensor) -> Tensor:
    """Return the mean length of the gradient, divided by the root of two.

    Args:
        image: [N, H, W], at least 2 x 2 pixels.

    Returns:
        [N].

    Raises:
        InputError: if the image is smaller.
    """
    _check_size(image)
    along_rows, along_columns = torch.gradient(image, dim=(1, 2))
    length = (along_rows.square() + along_columns.square()).div(2).sqrt()
    return length.flatten(1).mean(dim=1)


def _check_size(image: Tensor) -> None:
    if min(image.shape[-2:]) < 2:
        raise InputError("SF and AG need images of at least 2 x 2 pixels.")
