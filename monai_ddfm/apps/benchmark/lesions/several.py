r"""What is found of a lesion in the fusion of an MRI with several volumes, source by source.

A lesion, bright or dark, is put into one source at a time, at random places of the head in some
slices. The slices are fused and colored as the bundle does, and the model observer of
`monai_ddfm.metrics.observer` looks at them. The efficiency of a source is

.. math::
    e_k = \min_{\pm} \; d'_{\mathrm{fused}}(k, \pm) \,/\, d'_k(k, \pm),

d' in the fusion over d' in the gray picture of the source alone, at the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from torch import Tensor
from tqdm import tqdm

from monai_ddfm.apps.benchmark.bundle import bundle_prior, preprocess_volumes
from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.lesions.scenes import Scene, make_scenes
from monai_ddfm.inferers import DDFMInferer, configure
from monai_ddfm.metrics.observer import (
    INTERNAL_NOISE,
    Lesion,
    Place,
    Reader,
    centers,
    detectability,
    lesion_profile,
)
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source, names_of
from monai_ddfm.transforms.colorize import ColorizeFusiond
from monai_ddfm.transforms.windows import finding_level

__all__ = ["FoundInSource", "find_in_each"]

_SIGNS: Final = (1, -1)


@dataclass(frozen=True, kw_only=True)
class FoundInSource:
    """What is found of the lesions of one source.

    Attributes:
        source: its name; "mri" for the fixed one.
        alone: d' in the source alone, bright and dark.
        fused: d' in the fusion, likewise.
        places: how many lesions there were.
    """

    source: str
    alone: tuple[float, float]
    fused: tuple[float, float]
    places: int

    @property
    def efficiency(self) -> tuple[float, float]:
        """What is found in the fusion over what is found in the source, bright and dark."""
        bright, dark = (f / a for f, a in zip(self.fused, self.alone, strict=True))
        return bright, dark


def find_in_each(
    fixed: Path,
    moving: Sequence[Path],
    *,
    modality: Sequence[str],
    lesion: Lesion = Lesion(),  # noqa: B008 - immutable
    count: int = 200,
    slices: int = 6,
    seed: int = 0,
    device: str = "cpu",
    **options: Any,
) -> list[FoundInSource]:
    """Put lesions into each source, fuse all, and see what is found.

    Args:
        fixed: the MRI.
        moving: the other volumes.
        modality: of each.
        lesion: what is put there.
        count: number of places.
        slices: of the volume.
        seed: of the places.
        device: of the network.
        options: of the bundle's configuration, for example ``registration="none"``.

    Returns:
        Of the MRI first, then of each moving volume.

    Raises:
        InputError: if a volume cannot be used, or there are too few places.
    """
    case = preprocess_volumes(fixed, list(moving), modality=list(modality), options=options)
    kinds = [Modality.parse(kind) for kind in modality]
    sources = [
        Source(modality=kind, name=name) for kind, name in zip(kinds, names_of(kinds), strict=True)
    ]
    image = ((torch.as_tensor(case["image"]).as_subclass(Tensor).float() + 1) / 2).clamp(0, 1)
    spacing = tuple(float(edge) for edge in affine_to_spacing(case["image"].affine))
    whole = Case(
        name="subject",
        modality="PET",  # no matter here
        image=image[None],
        fixed=image[:1],
        moving=image[1:2],
        spacing=spacing,
    )
    scenes = make_scenes([whole], count=count, slices=slices, seed=seed)
    look = _Look(sources, spacing=(spacing[0], spacing[1]), device=device)
    parts = [look.at(scene, lesion) for scene in tqdm(scenes, unit="slice", disable=None)]
    absent = [torch.cat([part[0][n] for part in parts]) for n in range(2 + len(sources))]
    present = [torch.cat([part[1][n] for part in parts], 1) for n in range(2 + len(sources))]
    found = []
    for number, name in enumerate(("mri", *(source.name for source in sources))):
        seen = []
        for shown, rows in ((0, 2 * number), (1 + number, 0)):
            seen.append(
                tuple(
                    float(
                        detectability(
                            absent[shown], present[shown][rows + n], internal_noise=INTERNAL_NOISE
                        )
                    )
                    for n in range(2)
                )
            )
        fused, alone = seen
        found.append(
            FoundInSource(
                source=name,
                alone=(alone[0], alone[1]),
                fused=(fused[0], fused[1]),
                places=len(absent[0]),
            )
        )
    return found


class _Look:
    """Fuses slices with lesions, colors them and looks at them."""

    def __init__(
        self, sources: Sequence[Source], *, spacing: tuple[float, float], device: str
    ) -> None:
        self.sources, self.reader, self.device = sources, Reader(), device
        self.network = bundle_prior(device=device).network
        self.color = ColorizeFusiond(sources, color_style="mixed")
        kinds = [source.modality.value for source in sources]
        findings = [finding_level(kind) for kind in kinds]
        preset = configure("default", modality=kinds, finding=findings)
        self.preset = preset.on_grid(spacing)

    def at(self, scene: Scene, lesion: Lesion) -> tuple[list[Tensor], list[Tensor]]:
        """Return channel outputs in a slice, of the fusion and then of each source alone.

        Args:
            scene: a slice and places; its image has all sources.
            lesion: what is put there.

        Returns:
            Without lesions, [S, C] each; and with them, [signals, S, C] each: the signals of the
            fusion are those of all sources in turn, bright and dark.
        """
        image = scene.case.image[0]
        everywhere = centers(scene.places)
        absent = [one[0] for one in self._look(image[None], everywhere)]
        present: list[list[Tensor]] = [[] for _ in range(1 + len(image))]
        for group in scene.groups:
            stack = _with_lesions(image, group, lesion, scene.case.spacing)
            here = centers(list(group))
            seen = self._look(stack, here)
            present[0].append(seen[0])
            for number in range(len(image)):
                own = slice(2 * number, 2 * number + 2)
                present[1 + number].append(seen[1 + number][own])
        return absent, [torch.cat(part, 1) for part in present]

    def _look(self, stack: Tensor, places: Tensor) -> list[Tensor]:
        """Return what is seen of images [n, 1 + N, H, W]: fused, then each source, [n, S, C]."""
        shown = [self._fused(stack), *(stack[:, n : n + 1] for n in range(stack.shape[1]))]
        return [self.reader.look([one], places) for one in shown]

    def _fused(self, stack: Tensor) -> Tensor:
        """Return the fusion of images [n, 1 + N, H, W] in color [n, 3, H, W], or in gray."""
        infer = DDFMInferer(preset=self.preset)
        scaled = stack * 2 - 1
        parts = [infer(part.to(self.device), self.network).cpu() for part in torch.split(scaled, 1)]
        luminance = ((torch.cat(parts)[:, :1] + 1) / 2).clamp(0, 1)
        volumes = scaled.movedim(0, -1)  # images one behind the other, [1 + N, H, W, n]
        case: dict[Any, Any] = {"fused": MetaTensor(luminance.movedim(0, -1)), "image": volumes}
        for number, source in enumerate(self.sources, start=1):
            case[source.scaled_key] = volumes[number : number + 1]
        rgb = self.color(case).get("fused_rgb")
        return luminance if rgb is None else rgb.as_tensor().movedim(-1, 0)


def _with_lesions(
    image: Tensor, group: Sequence[Place], lesion: Lesion, spacing: Sequence[float]
) -> Tensor:
    """Put a lesion at each place of a group, into each source in turn, bright and dark."""
    size = (image.shape[-2], image.shape[-1])
    profile = torch.zeros(size)
    for place in group:
        profile += lesion_profile(
            size, place, lesion=lesion, spacing=(float(spacing[0]), float(spacing[1]))
        )
    stack = []
    for number in range(len(image)):
        for sign in _SIGNS:
            one = image.clone()
            one[number] += sign * lesion.contrast * profile
            stack.append(one.clamp(0, 1))
    return torch.stack(stack)
