r"""What is looked for: lesions and thin lines, bright or dark, in one source or in both.

A Gaussian lesion of full width at half maximum w (in mm) at the place c is

.. math::
    g(x) = e^{-4 \ln 2\, |x - c|^2 / w^2}

a line of width w and length l the product of that profile across it and of a smooth end: one over
:math:`|t| \le l / 2` along it, falling as the same Gaussian beyond. With contrast k, in units of
the gray scale from black to white, a source s becomes :math:`\mathrm{clip}(s \pm k g, 0, 1)`.

Whatever a reader looks for is in the one source, or in the other, or in both; there it is bright or
dark, and in both it may be the same or opposed (a calcification is bright in CT and dark in MRI).
These are the eight signals of `SIGNALS`. A rule that takes the maximum cannot show what is dark in
one source where the other is bright; one that takes the mean cannot show what is opposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer.places import Place

__all__ = ["SIGNALS", "Lesion", "Shape", "lesion_profile", "with_signals"]

Shape = Literal["lesion", "vessel", "fracture", "bar"]

SIGNALS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "fixed +": (1, 0),
        "fixed -": (-1, 0),
        "moving +": (0, 1),
        "moving -": (0, -1),
        "both +": (1, 1),
        "both -": (-1, -1),
        "opposed +": (1, -1),
        "opposed -": (-1, 1),
    }
)
"""Signs of the signal in the fixed and in the moving source, by name; + and - are bright and dark,
of an opposed signal in the fixed source."""

# Lengths of the lines as multiples of their width.
_LENGTHS: Final[Mapping[Shape, float]] = {"lesion": 0.0, "vessel": 10.0, "fracture": 12.0, "bar": 6}
# A vessel is a millimeter or two wide, a fracture gap less than that, a bar is made to be seen.
_WIDTHS: Final[Mapping[Shape, float]] = {"lesion": 7.0, "vessel": 2.0, "fracture": 1.5, "bar": 4.0}


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """What is put into the sources.

    Attributes:
        shape: "lesion" is a round Gaussian; "vessel", "fracture" and "bar" are lines of different
            proportions, of random orientation.
        width: full width at half maximum in mm, 0.5 to 60; across, if it is a line.
        contrast: at the center, in units of the gray scale from 0 to 1, more than 0, at most 1.

    Raises:
        InputError: if the shape is unknown or a number out of range.
    """

    shape: Shape = "lesion"
    width: float = 7.0
    contrast: float = 0.2

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            known = ", ".join(get_args(Shape))
            raise InputError(f"lesion shape {self.shape!r} is unknown; use {known}.")
        if not (math.isfinite(self.width) and 0.5 <= self.width <= 60):
            raise InputError(f"a lesion of {self.width:g} mm is unusable; give 0.5 to 60.")
        if not (math.isfinite(self.contrast) and 0 < self.contrast <= 1):
            raise InputError(
                f"a lesion contrast of {self.contrast:g} is unusable; give more than 0 and at most "
                "1, such as 0.2."
            )

    @classmethod
    def typical(cls, shape: Shape, *, contrast: float = 0.2) -> Lesion:
        """Return a lesion or line of the width that is usual for its shape."""
        if shape not in _WIDTHS:
            raise InputError(f"lesion shape {shape!r} is unknown; use {', '.join(_WIDTHS)}.")
        return cls(shape=shape, width=_WIDTHS[shape], contrast=contrast)

    def __str__(self) -> str:
        return f"{self.shape} {self.width:g} mm, contrast {self.contrast:g}"


def lesion_profile(
    size: tuple[int, int], place: Place, *, lesion: Lesion, spacing: tuple[float, float] = (1, 1)
) -> Tensor:
    """Return g of one lesion: 1 at its center, 0 far away.

    Args:
        size: (height, width) of the image.
        place: where, and at what angle.
        lesion: its shape and width; the contrast is not used.
        spacing: size of a pixel in mm, (rows, columns).

    Returns:
        float32 [H, W] in [0, 1].
    """
    down = (torch.arange(size[0], dtype=torch.float64) - place.row)[:, None] * spacing[0]
    right = (torch.arange(size[1], dtype=torch.float64) - place.column) * spacing[1]
    along = math.cos(place.angle) * right + math.sin(place.angle) * down
    across = math.cos(place.angle) * down - math.sin(place.angle) * right
    beyond = (along.abs() - lesion.width * _LENGTHS[lesion.shape] / 2).clamp_min(0)
    square = across**2 + beyond**2
    return torch.exp(-4 * math.log(2) * square / lesion.width**2).float()


def with_signals(
    image: Tensor,
    places: Sequence[Place],
    *,
    lesion: Lesion,
    spacing: tuple[float, float] = (1, 1),
) -> Tensor:
    """Put a lesion at each of some places, in all eight ways.

    Args:
        image: [2, H, W] in [0, 1], fixed and moving.
        places: far enough from each other.
        lesion: what is put there.
        spacing: size of a pixel in mm, (rows, columns).

    Returns:
        [8, 2, H, W] in [0, 1], in the order of `SIGNALS`.
    """
    size = (image.shape[-2], image.shape[-1])
    profile = torch.zeros(size)
    for place in places:
        profile += lesion_profile(size, place, lesion=lesion, spacing=spacing)
    signs = torch.tensor(list(SIGNALS.values()), dtype=image.dtype)[:, :, None, None]
    return (image + lesion.contrast * signs * profile.to(image)).clamp(0, 1)
