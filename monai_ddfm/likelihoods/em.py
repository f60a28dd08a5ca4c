r"""One expectation-maximization step of DDFM's likelihood rectification.

With the sources :math:`i` (moving) and :math:`v` (fixed), an estimate :math:`f` of the fused image
and :math:`x = f - v`, :math:`y = i - v`, the model is :math:`y - x \sim \mathrm{Laplace}`,
:math:`x \sim \mathrm{Laplace}` and a gradient penalty [1]. Both Laplace laws are
written as Gaussians of exponentially distributed variance, so the step is a closed form.

E-step, the expected precisions per pixel and the scales :math:`\tau` per image:

.. math::
    D &= \sqrt{\frac{2}{\tau_b (x^2 + 10^{-6})}}, \qquad
    C  = \sqrt{\frac{2}{\tau_a (y - x + 10^{-6})^2}}, \qquad D \leftarrow \min(D, 2C) \\
    \tau_b &\leftarrow \operatorname{mean} D^{-1} + \tau_b / 2, \qquad
    \tau_a  \leftarrow \operatorname{mean} C^{-1} + \tau_a / 2

M-step by half-quadratic splitting, one sweep, with :math:`\nabla` the periodic forward difference:

.. math::
    H &= \arg\min_h \|h - (y - x)\|^2 + \|F - \nabla h\|^2
       = \mathcal F^{-1} \frac{\mathcal F (y - x + \nabla^\top F)}{1 + |\hat\nabla_1|^2 +
         |\hat\nabla_2|^2} \\
    F &\leftarrow -\frac{\rho}{2\lambda + \rho} \nabla_0 H \\
    x &\leftarrow \frac{2 C y + \rho (y - H)}{2 C + 2 D + \rho}

:math:`\nabla_0` takes zero beyond the last row and column. The minus before it, the cap
:math:`2C` on D and the splitting of :math:`y - x` instead of :math:`x` belong to the published code
and not to the printed algorithm; they are what reproduces its numbers. The two variants differ in
the estimate that they return:

* ``reference``: :math:`f = i - x`, the published code. It weights the sources nearly equally.
* ``paper``: :math:`f = v + x`, as equation and algorithm of the paper say.

Written as :math:`f = v + w (i - v)`, the share :math:`w` of `moving` without the gradient penalty
is :math:`D / (C + D)` for ``reference`` and :math:`C / (C + D)` for ``paper``; both lie in [0, 1],
so that every fused value lies between the two sources.

Every quantity is per image: a batch equals its members one by one, to the last bit on a CPU.

References:
    [1] Z. Zhao et al., DDFM: Denoising Diffusion Model for Multi-Modality Image Fusion, ICCV 2023,
        arXiv 2303.06840, likelihood rectification and algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from monai_ddfm.errors import InputError
from monai_ddfm.utils.uploads import upload

__all__ = [
    "EMResult",
    "EMState",
    "Variant",
    "check_em_parameters",
    "em_step",
    "finite_difference_otf",
    "moving_share",
    "tv_prox",
]

Variant = Literal["reference", "paper"]

_X_EPSILON: Final = 1e-6
_PRECISION_EPSILON: Final = 1e-10
# The published C has a pole at y - x = -1e-6. Below this floor C exceeds D by more than a factor
# that float32 resolves in x, so no value moves.
_RESIDUAL_FLOOR: Final = 1e-8
# Images have the range [-1, 1]; differences beyond this are cut so that squares stay finite.
_DIFFERENCE_LIMIT: Final = 1e6
# Below this difference of the sources, (f - v) / (i - v) is rounding and not a share.
_EQUAL_SOURCES: Final = 1e-4


@dataclass(frozen=True, slots=True)
class EMState:
    """What one EM step hands to the next.

    Attributes:
        tau_a: scale of the residual y - x per image, [B, 1, 1, 1].
        tau_b: scale of x per image, [B, 1, 1, 1].
        f1: splitting variable along the width, [B, 1, H, W].
        f2: splitting variable along the height, [B, 1, H, W].
        tv_spectrum: denominator of the Fourier solution, 1 + |d1|^2 + |d2|^2, [H, W // 2 + 1].
    """

    tau_a: Tensor
    tau_b: Tensor
    f1: Tensor
    f2: Tensor
    tv_spectrum: Tensor

    @classmethod
    def initial(
        cls,
        batch: int,
        height: int,
        width: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> EMState:
        """Return the state before the first step: scales of one, splitting variables of zero.

        Half precision is raised to float32.
        """
        dtype = torch.promote_types(dtype, torch.float32)
        one = torch.ones(batch, 1, 1, 1, device=device, dtype=dtype)
        zero = torch.zeros(batch, 1, height, width, device=device, dtype=dtype)
        d1, d2 = finite_difference_otf(height, width)
        spectrum = 1 + d1.abs().square() + d2.abs().square()
        return cls(one, one, zero, zero, upload(spectrum, device, dtype=dtype))


class EMResult(NamedTuple):
    """Outcome of `em_step`.

    `fused` is the rectified luminance f, [B, 1, H, W]; `state` goes into the next step; `weight` is
    the share of `moving` in f, [B, 1, H, W] in [0, 1].
    """

    fused: Tensor
    state: EMState
    weight: Tensor


def finite_difference_otf(height: int, width: int) -> tuple[Tensor, Tensor]:
    r"""Return the transfer functions of the periodic forward differences.

    A forward difference :math:`x_{n+1} - x_n` multiplies the frequency :math:`\omega` by
    :math:`e^{i \omega} - 1`.

    Returns:
        Along the width and along the height, complex128 on the CPU in the layout of
        `torch.fft.rfft2`, as [1, W // 2 + 1] and [H, 1]; they broadcast to [H, W // 2 + 1].
    """
    along_width = 2 * math.pi * torch.fft.rfftfreq(width, dtype=torch.float64)
    along_height = 2 * math.pi * torch.fft.fftfreq(height, dtype=torch.float64)
    one_w, one_h = torch.ones_like(along_width), torch.ones_like(along_height)
    return (
        (torch.polar(one_w, along_width) - 1).unsqueeze(0),
        (torch.polar(one_h, along_height) - 1).unsqueeze(1),
    )


def tv_prox(image: Tensor, f1: Tensor, f2: Tensor, spectrum: Tensor) -> Tensor:
    r"""Solve :math:`\min_h \|h - z\|^2 + \|F_1 - \nabla_1 h\|^2 + \|F_2 - \nabla_2 h\|^2` exactly.

    Differences are periodic. Their adjoint is applied in space, so that one forward and one inverse
    real transform are enough.

    Args:
        image: z, [B, 1, H, W].
        f1: target of the differences along the width, same shape.
        f2: target of the differences along the height, same shape.
        spectrum: 1 + |d1|^2 + |d2|^2 for this size, [H, W // 2 + 1], see `EMState.tv_spectrum`.

    Returns:
        h, [B, 1, H, W].
    """
    adjoint = f1.roll(1, -1) - f1 + f2.roll(1, -2) - f2
    target, size = image + adjoint, image.shape[-2:]
    # One by one on a CPU, where a batched transform divides its work, and so rounds, by the size of
    # the batch; a GPU would spend its time on launches.
    parts = target.split(1) if target.device.type == "cpu" else (target,)  # type: ignore[no-untyped-call]
    return torch.cat([torch.fft.irfft2(torch.fft.rfft2(one) / spectrum, s=size) for one in parts])


def em_step(
    x0: Tensor,
    moving: Tensor,
    fixed: Tensor,
    state: EMState,
    *,
    lamb: float,
    rho: float,
    variant: Variant = "reference",
    tv: bool = True,
) -> EMResult:
    """Rectify an estimate of the fused luminance by one EM iteration against both sources.

    Computes in float32, also inside autocast and for half-precision images, and in float64 if any
    input is float64. Finite for every finite input; NaN stays NaN.

    Args:
        x0: current estimate f, [B, 1, H, W], any size, signal range [-1, 1].
        moving: source i, same shape.
        fixed: source v, same shape.
        state: from `EMState.initial` or the step before.
        lamb: weight of the gradient penalty, not negative; 0.5 in the published code.
        rho: weight of the splitting, not negative; 0.001 in the published code.
        variant: which estimate is returned, see the module.
        tv: use the gradient penalty. Without it no Fourier transform is done, `lamb` and `rho` do
            not matter, and every value of `fused` lies between the two sources.

    Raises:
        InputError: if a parameter is outside its range.
        ValueError: if the shapes of the images and the state differ.
    """
    check_em_parameters(lamb=lamb, rho=rho, variant=variant)
    _check_shapes(x0, moving, fixed, state)
    with torch.autocast(x0.device.type, enabled=False):
        x0, moving, fixed = _promoted(x0, moving, fixed, state)
        limits = (-_DIFFERENCE_LIMIT, _DIFFERENCE_LIMIT)
        x, y = (x0 - fixed).clamp(*limits), (moving - fixed).clamp(*limits)
        c, d, tau_a, tau_b = _expectation(x, y, state)
        f1, f2 = state.f1, state.f2
        numerator, denominator = 2 * c * y, 2 * c + 2 * d
        if tv:
            h = tv_prox(y - x, f1, f2, state.tv_spectrum)
            shrink = rho / (2 * lamb + rho) if rho > 0 else 0.0
            f1 = shrink * (h - functional.pad(h, (0, 1))[..., 1:])
            f2 = shrink * (h - functional.pad(h, (0, 0, 0, 1))[..., 1:, :])
            numerator, denominator = numerator + rho * (y - h), denominator + rho
        x = numerator / denominator
        fused = moving - x if variant == "reference" else fixed + x
        weight = (d if variant == "reference" else c) / (c + d)
        if tv:
            weight = moving_share(fused, moving, fixed, where_equal=weight)
        else:
            # Removes rounding in the last place, which makes the bound exact.
            fused = fused.clamp(torch.minimum(moving, fixed), torch.maximum(moving, fixed))
    return EMResult(fused, EMState(tau_a, tau_b, f1, f2, state.tv_spectrum), weight)


def moving_share(
    fused: Tensor, moving: Tensor, fixed: Tensor, *, where_equal: Tensor | float = 0.5
) -> Tensor:
    """Return w of ``fused = fixed + w (moving - fixed)``, projected onto [0, 1].

    Args:
        fused: [B, 1, H, W], as are `moving` and `fixed`.
        moving: source i.
        fixed: source v.
        where_equal: the share where the sources agree to 1e-4 and every w is as good.

    Returns:
        [B, 1, H, W] in [0, 1].
    """
    difference = moving - fixed
    equal = difference.abs() < _EQUAL_SOURCES
    share = (fused - fixed) / torch.where(equal, 1.0, difference)
    return torch.where(equal, where_equal, share).clamp(0, 1)


def check_em_parameters(*, lamb: float, rho: float, variant: str) -> None:
    """Raise InputError unless the parameters of `em_step` are in range."""
    for name, value in (("lamb", lamb), ("rho", rho)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} must be a finite number of at least 0, not {value!r}.")
    if variant not in get_args(Variant):
        raise InputError(f"EM variant {variant!r} is unknown; use 'reference' or 'paper'.")


def _expectation(x: Tensor, y: Tensor, state: EMState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the precisions C and D per pixel and the new scales tau_a and tau_b per image."""
    d = torch.sqrt(2 / state.tau_b / (x.square() + _X_EPSILON))
    residual = (y - x + _X_EPSILON).abs().clamp_min(_RESIDUAL_FLOOR)
    c = torch.sqrt(2 / state.tau_a / residual.square())
    d = torch.minimum(d, 2 * c)
    tau_a = _image_mean(1 / (c + _PRECISION_EPSILON)) + state.tau_a / 2
    tau_b = _image_mean(1 / (d + _PRECISION_EPSILON)) + state.tau_b / 2
    return c, d, tau_a, tau_b


def _image_mean(image: Tensor) -> Tensor:
    """Return the mean per image, [B, 1, 1, 1], by a tree of element-wise sums.

    `Tensor.mean` divides its work by the size of the batch; the tree depends on the image alone.
    """
    flat = image.flatten(1)
    count = flat.shape[1]
    flat = functional.pad(flat, (0, (1 << (count - 1).bit_length()) - count))
    while flat.shape[1] > 1:
        first, second = flat.chunk(2, dim=1)
        flat = first + second
    return (flat / count)[..., None, None]


def _promoted(x0: Tensor, moving: Tensor, fixed: Tensor, state: EMState) -> tuple[Tensor, ...]:
    """Raise the images to one floating-point type of at least float32."""
    dtype = state.tau_a.dtype
    for image in (x0, moving, fixed):
        dtype = torch.promote_types(dtype, image.dtype)
    return x0.to(dtype), moving.to(dtype), fixed.to(dtype)


def _check_shapes(x0: Tensor, moving: Tensor, fixed: Tensor, state: EMState) -> None:
    """Refuse what broadcasting would let through."""
    shapes = {tuple(image.shape) for image in (x0, moving, fixed, state.f1)}
    if len(shapes) > 1 or x0.ndim != 4 or x0.shape[1] != 1:
        raise ValueError(
            f"images and state must share one shape [B, 1, H, W], got {sorted(shapes)}"
        )
