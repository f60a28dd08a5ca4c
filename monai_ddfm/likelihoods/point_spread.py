r"""What a scanner's blur does to an image: separable linear operators, one matrix for each axis.

A scanner sees of an image u on a grid

.. math::

    f = H u + n, \qquad H = K_1 \otimes K_2 \otimes K_3,

where :math:`K_k` acts along axis k. A Gaussian point spread of full width at half maximum F (mm)
has the deviation :math:`F / \sqrt{8 \ln 2}`; a slice of a thick MRI is the mean over its thickness.
Each row of :math:`K_k` sums to 1, so what is uniform stays so. Beyond its borders an image goes on
as in a mirror that stands half a voxel outside. For a Gaussian that makes :math:`K_k` symmetric,
and so its columns sum to 1 too: the sum over the image is kept.

Written out, the matrices are small (an axis has some hundred voxels), and products with them are
the fastest thing that a processor or a GPU does; nothing is truncated and the adjoint
:math:`H^T` is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["FWHM_PER_DEVIATION", "Blur", "gaussian_blur", "gaussian_matrix"]

FWHM_PER_DEVIATION: Final = math.sqrt(8 * math.log(2))
_REACH: Final = 5.0  # deviations; what lies beyond is below a millionth


@dataclass(frozen=True, slots=True)
class Blur:
    """The operator H.

    Attributes:
        matrices: [M_k, N_k] for each of the three axes; None leaves the axis as it is.
    """

    matrices: tuple[Tensor | None, Tensor | None, Tensor | None]

    def __call__(self, image: Tensor) -> Tensor:
        """Return H u of an image [N_1, N_2, N_3]."""
        return _apply(image, self.matrices)

    def adjoint(self, image: Tensor) -> Tensor:
        """Return the adjoint of H, of an image [M_1, M_2, M_3]."""
        return _apply(image, [None if k is None else k.T for k in self.matrices])

    def diagonal(self, weights: Tensor) -> Tensor:
        """Return the diagonal of H^T W H.

        Args:
            weights: the diagonal of W, [M_1, M_2, M_3].

        Returns:
            [N_1, N_2, N_3].
        """
        return _apply(weights, [None if k is None else k.T.square() for k in self.matrices])


def _apply(image: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    first, second, third = matrices
    if third is not None:
        image = image @ third.T
    if second is not None:
        image = second @ image
    if first is not None:
        image = torch.tensordot(first, image, dims=1)
    return image


def gaussian_matrix(size: int, deviation: float) -> Tensor | None:
    """Return the matrix of a Gaussian along one axis, [size, size] float64.

    Args:
        size: voxels of the axis.
        deviation: in voxels; 0 gives None, no blur.
    """
    if deviation <= 0:
        return None
    reach = math.ceil(_REACH * deviation)
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / deviation).square())
    kernel /= kernel.sum()
    rows = torch.arange(size)[:, None].expand(-1, len(offsets))
    # Fold the indices back: ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ...
    columns = (rows + offsets).remainder(2 * size)
    columns = torch.minimum(columns, 2 * size - 1 - columns)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.index_put_((rows, columns), kernel.expand(size, -1), accumulate=True)


def gaussian_blur(
    shape: Sequence[int],
    spacing: Sequence[float],
    fwhm: float | Sequence[float],
    *,
    like: Tensor,
) -> Blur:
    """Return the blur of a Gaussian point spread.

    Args:
        shape: of the image.
        spacing: edges of its voxels in mm.
        fwhm: full width at half maximum in mm; three of them for the three axes.
        like: a tensor of the type and on the device that the matrices shall have.
    """
    widths = [fwhm] * 3 if isinstance(fwhm, int | float) else fwhm
    first, second, third = (
        gaussian_matrix(size, width / FWHM_PER_DEVIATION / edge)
        for size, edge, width in zip(shape, spacing, widths, strict=True)
    )
    return Blur((_to(first, like), _to(second, like), _to(third, like)))


def _to(matrix: Tensor | None, like: Tensor) -> Tensor | None:
    return None if matrix is None else matrix.to(like)
