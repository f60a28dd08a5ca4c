"""Slices with places for lesions, and their sources with lesions and noise in them.

A picture is one slice; of a volume some are taken, evenly spaced over the middle of the head. The
observer looks at slices, and so do readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.noise import Noise
from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import Lesion, Place, place_lesions, with_signals

__all__ = ["Scene", "make_scenes"]

# Of the slices that show enough of a head: neither the neck nor the top of the skull.
_MIDDLE: Final = (0.3, 0.8)
_ENOUGH: Final = 0.15


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One slice of a pair, and where lesions go.

    Attributes:
        case: the sources of the slice, [1, 2, H, W] in [0, 1], without lesions.
        groups: places that share an image.
        seed: of the places and of all added noise.
    """

    case: Case
    groups: Sequence[Sequence[Place]]
    seed: int

    @property
    def places(self) -> list[Place]:
        """Return all places, group after group."""
        return [place for group in self.groups for place in group]

    def without(self, noise: Noise | None) -> Tensor:
        """Return the sources without lesions, [1, 2, H, W] in [0, 1]."""
        return self._noisy(self.case.image, noise)

    def with_lesions(self, group: Sequence[Place], lesion: Lesion, noise: Noise | None) -> Tensor:
        """Return the sources with a lesion at each place of a group.

        Args:
            group: one of `groups`.
            lesion: what is put there.
            noise: what is added afterwards: the same noise as in the sources without lesions.

        Returns:
            [8, 2, H, W] in [0, 1], in the order of `monai_ddfm.metrics.observer.SIGNALS`.
        """
        spacing = (self.case.spacing[0], self.case.spacing[1])
        stack = with_signals(self.case.image[0], group, lesion=lesion, spacing=spacing)
        return self._noisy(stack, noise)

    def _noisy(self, stack: Tensor, noise: Noise | None) -> Tensor:
        if noise is None:
            return stack
        mask = self.case.head()
        return torch.stack(
            [
                torch.stack(
                    [
                        noise.add(source, mask=mask, seed=(self.seed, self.case.title, role))
                        for role, source in zip(("fixed", "moving"), image, strict=True)
                    ]
                )
                for image in stack
            ]
        )


def make_scenes(cases: Iterable[Case], *, count: int, slices: int, seed: int) -> list[Scene]:
    """Choose slices and places.

    Args:
        cases: pictures or volumes.
        count: lesions in each modality, spread evenly over its slices.
        slices: of each volume.
        seed: of the places.

    Returns:
        Scenes, in the order of the cases.

    Raises:
        InputError: if a slice holds no head, or has fewer places than it needs.
    """
    planes = [plane for case in cases for plane in _planes(case, slices)]
    wanted: dict[str, list[int]] = {}
    for modality in dict.fromkeys(plane.modality for plane in planes):
        number = sum(plane.modality == modality for plane in planes)
        wanted[modality] = [count * (i + 1) // number - count * i // number for i in range(number)]
    scenes = []
    for plane in planes:
        share = wanted[plane.modality].pop(0)
        if share == 0:
            continue
        try:
            groups = place_lesions(plane.head(), share, seed=(seed, plane.title))
        except InputError as error:
            raise InputError(f"{plane.title}: {error}") from error
        scenes.append(Scene(case=plane, groups=groups, seed=seed))
    return scenes


def _planes(case: Case, slices: int) -> list[Case]:
    """Return the slices of a case as cases of their own."""
    if case.image.ndim == 4:
        return [case]
    area = case.head().float().mean((0, 1))
    shown = torch.nonzero(area > _ENOUGH * area.max()).flatten()
    if len(shown) == 0:
        raise InputError(f"{case.title}: there is no head in the volume; lesions need one.")
    shares = torch.linspace(*_MIDDLE, slices) if slices > 1 else torch.tensor([sum(_MIDDLE) / 2])
    exact = float(shown[0]) + shares * float(shown[-1] - shown[0])
    return [
        Case(
            name=f"{case.name} slice {position}",
            modality=case.modality,
            image=case.image[..., position],
            fixed=case.fixed[..., position],
            moving=case.moving[..., position],
            spacing=case.spacing[:2],
            finding=case.finding,
        )
        for position in sorted({round(place) for place in exact.tolist()})
    ]
