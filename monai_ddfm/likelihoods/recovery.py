r"""The image behind a scanner's blur, with the edges of an MRI: recovery from partial volumes.

**Model.** Of an image u the scanner gives :math:`f = H u + n`, with the blur H of
`monai_ddfm.likelihoods.point_spread` and noise n of variance :math:`\sigma^2` in places of equal
uptake. The prior of u is a Laplace distribution of what its gradient has across the edges of the
MRI v, which is directional total variation [1], a relative of parallel level sets [2]:

.. math::

    -\log p(u) = \frac{\lambda}{s} \int |P\,\nabla u|, \qquad
    P = I - \xi \xi^T, \qquad \xi = \frac{\nabla v}{\sqrt{|\nabla v|^2 + \eta^2}} .

Along :math:`\xi` a step of u costs little, so edges of u come to lie where the MRI has edges; where
it has none, u may step all the same, at the price of total variation. Edges of the MRI alone ask
for nothing: P only ever takes from the penalty.

**EM.** The Laplace prior is a scale mixture of normal priors, as everywhere in this model. With
:math:`d = P \nabla u` of the last estimate,

.. math::

    \text{E:} \quad q = \frac{\lambda}{\sqrt{|d|^2 + \varepsilon^2}}, \qquad
    \text{M:} \quad (H^T W H + \nabla^T P^T q P\, \nabla)\, u = H^T W f ,

W being 1 where the scanner measured and 0 elsewhere. The M-step is solved by a few iterations of
conjugate gradients, begun from the last estimate. q in smooth tissue is a hundred times that on an
edge, so they are preconditioned by the diagonal of the operator. Without that they stop long before
the solution where the blur is wide, and what they have not found yet overshoots amid hot spots. f
is divided by its own scale first, so the result is linear in it. The sum of H u over what was
measured is that of f, because constants are not penalized; H keeps sums, so the sum of u is that of
f if all was measured. Values below 0, which no uptake has, are set to 0 at the end.

References:
    [1] M. J. Ehrhardt, M. M. Betcke, Multicontrast MRI reconstruction with structure-guided total
        variation, SIAM Journal on Imaging Sciences 9 (2016), arXiv 1511.06631.
    [2] M. J. Ehrhardt et al., PET reconstruction with an anatomical MRI prior using parallel level
        sets, IEEE Transactions on Medical Imaging 35 (2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.point_spread import Blur

__all__ = ["RecoveryOptions", "recover"]

_TINY = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryOptions:
    """What the recovery is made with; the defaults are those of the benchmark's table.

    Attributes:
        penalty: lambda in mm, for an image divided by its scale.
        softness: epsilon, of the scale per mm: steps below it count as smooth.
        edge: eta, of the MRI's scale per mm: weaker edges are no edges.
        rounds: of E- and M-step.
        iterations: of conjugate gradients in each M-step.

    Raises:
        InputError: if one is not positive.
    """

    penalty: float = 0.01
    softness: float = 0.003
    edge: float = 0.03
    rounds: int = 8
    iterations: int = 8

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"{name} {value:g} of the recovery is unusable; give more than 0.")


def recover(
    image: Tensor,
    guide: Tensor | None,
    *,
    blur: Blur,
    spacing: Sequence[float],
    scale: float,
    guide_scale: float = 1.0,
    measured: Tensor | None = None,
    options: RecoveryOptions | None = None,
) -> Tensor:
    """Undo the blur of an image.

    Args:
        image: f, [M_1, M_2, M_3], 0 or more, in any units.
        guide: v, the MRI [N_1, N_2, N_3] in any units; None for no edges.
        blur: H, from [N_1, N_2, N_3] to the image's shape.
        spacing: edges of the voxels of u in mm.
        scale: what of the image counts as bright, in its units; penalties are relative to it.
        guide_scale: the same for the MRI.
        measured: W, 1 where `image` was measured and 0 elsewhere; None for everywhere.
        options: see there.

    Returns:
        u, [N_1, N_2, N_3] float32 on the device of `image`, 0 or more in its units.

    Raises:
        InputError: if a scale is not positive.
    """
    chosen = options or RecoveryOptions()
    for one, name in ((scale, "the image"), (guide_scale, "the MRI")):
        if not 0 < one < math.inf:
            raise InputError(f"{name} has no signal to recover from; its scale is {one:g}.")
    data = image.float() / scale
    if measured is not None:
        measured = measured.float()
        data = data * measured
    edges = None if guide is None else _edges(guide.float() / guide_scale, spacing, chosen.edge)
    start = blur.adjoint(data)
    seen_by = blur.diagonal(torch.ones_like(data) if measured is None else measured)
    free = None if edges is None else _across_shares(edges)

    def across(u: Tensor) -> Tensor:
        return _without_edges(_gradient(u, spacing), edges)

    estimate = start.clone()
    if measured is not None:
        # Begin with a mean of what was measured near, not with the drop at the border.
        estimate /= blur.adjoint(measured).clamp_min(0.1)
    for _ in range(chosen.rounds):
        precision = across(estimate).square().sum(0).add_(chosen.softness**2).rsqrt_()
        precision *= chosen.penalty

        def normal(u: Tensor, precision: Tensor = precision) -> Tensor:
            seen = blur(u) if measured is None else blur(u) * measured
            flow = _without_edges(across(u).mul_(precision), edges)
            return blur.adjoint(seen) + _gradient_adjoint(flow, spacing)

        diagonal = seen_by + _penalty_diagonal(precision, free, spacing)
        estimate = _conjugate_gradients(normal, start, estimate, chosen.iterations, diagonal)
    return (estimate * scale).clamp_min_(0)


def _conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    target: Tensor,
    start: Tensor,
    iterations: int,
    diagonal: Tensor,
) -> Tensor:
    """Solve ``operator(u) = target`` from `start`; nothing on the way waits for the host.

    Args:
        operator: symmetric and positive.
        target: the right side.
        start: what to begin with.
        iterations: how many.
        diagonal: of the operator, or like it; the preconditioner.
    """
    solution = start
    residual = target - operator(solution)
    direction = residual / diagonal
    squares = (residual * direction).sum()
    for _ in range(iterations):
        image = operator(direction)
        step = squares / (direction * image).sum().clamp_min(_TINY)
        solution = solution + step * direction
        residual = residual - step * image
        scaled = residual / diagonal
        rest = (residual * scaled).sum()
        direction = scaled + rest / squares.clamp_min(_TINY) * direction
        squares = rest
    return solution


def _edges(guide: Tensor, spacing: Sequence[float], edge: float) -> Tensor:
    """Return xi, [3, N_1, N_2, N_3]."""
    gradient = _gradient(guide, spacing)
    return gradient.mul_(gradient.square().sum(0).add_(edge**2).rsqrt_())


def _without_edges(gradient: Tensor, edges: Tensor | None) -> Tensor:
    """Return P g of gradients [3, N_1, N_2, N_3]."""
    if edges is None:
        return gradient
    return gradient - edges * (edges * gradient).sum(0)


def _across_shares(edges: Tensor) -> Tensor:
    """Return |P e_k|^2 of the three axes k, [3, N_1, N_2, N_3]."""
    squares = edges.square()
    return 1 - squares * (2 - squares.sum(0))


def _penalty_diagonal(precision: Tensor, shares: Tensor | None, spacing: Sequence[float]) -> Tensor:
    """Return the diagonal of the penalty, but for what P mixes of two axes."""
    diagonal = torch.zeros_like(precision)
    for axis, edge in enumerate(spacing):
        weight = precision if shares is None else precision * shares[axis]
        inner = precision.shape[axis] - 1
        weight = weight.narrow(axis, 0, inner) / edge**2
        diagonal.narrow(axis, 0, inner).add_(weight)
        diagonal.narrow(axis, 1, inner).add_(weight)
    return diagonal.clamp_min_(_TINY)


def _gradient(image: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return forward differences per mm, [3, N_1, N_2, N_3]; 0 at the far border."""
    gradient = image.new_zeros((3, *image.shape))
    for axis, (part, edge) in enumerate(zip(gradient, spacing, strict=True)):
        inner = image.shape[axis] - 1
        difference = image.narrow(axis, 1, inner) - image.narrow(axis, 0, inner)
        part.narrow(axis, 0, inner).copy_(difference).div_(edge)
    return gradient


def _gradient_adjoint(gradient: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the adjoint of `_gradient`."""
    image = torch.zeros_like(gradient[0])
    for axis, (part, edge) in enumerate(zip(gradient, spacing, strict=True)):
        inner = image.shape[axis] - 1
        flow = part.narrow(axis, 0, inner) / edge
        image.narrow(axis, 1, inner).add_(flow)
        image.narrow(axis, 0, inner).sub_(flow)
    return image
