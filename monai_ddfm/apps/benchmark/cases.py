"""A pair in memory: the sources as the methods get them, with and without added noise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.data.utils import affine_to_spacing
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_ddfm.apps.benchmark.bundle import preprocess_volumes
from monai_ddfm.apps.benchmark.methods import Setting
from monai_ddfm.apps.benchmark.noise import Noise
from monai_ddfm.apps.benchmark.pairs import Pair
from monai_ddfm.data.writers.telling import log_case_warnings
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality, PictureModality
from monai_ddfm.training.baselines import head_masks
from monai_ddfm.transforms.color import PseudoColor
from monai_ddfm.transforms.pictures import (
    JoinLuminanced,
    LoadPictured,
    color_source,
    picture_luminance,
)
from monai_ddfm.transforms.windows import finding_level
from monai_ddfm.utils.color import white_level

__all__ = ["Case", "case_of_volumes", "check_distinct", "load_case"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two sources on one grid.

    Attributes:
        name: what the tables call it.
        modality: of the second source.
        image: [1, 2, H, W] or [1, 2, H, W, D] in [0, 1], fixed and moving.
        fixed: the fixed source as it is shown, [1 or 3, H, W(, D)] in [0, 1].
        moving: the moving source as it is shown, likewise.
        noise: what was added to the sources; None is nothing.
        spacing: size of a pixel or voxel in mm along H, W(, D); pictures do not say theirs, and
            count as 1 mm.
        finding: gray level of `moving`, 0 to 1, from which its brightness is a finding by its
            units; None where they do not tell.
    """

    name: str
    modality: str
    image: Tensor
    fixed: Tensor
    moving: Tensor
    noise: Noise | None = None
    spacing: tuple[float, ...] = (1.0, 1.0)
    finding: float | None = None

    @property
    def setting(self) -> Setting:
        """What methods are made ready for."""
        return Setting(modality=self.modality, finding=self.finding, spacing=self.spacing)

    @property
    def title(self) -> str:
        """Modality and name, unique within a benchmark."""
        return f"{self.modality} {self.name}"

    @property
    def key(self) -> str:
        """Hash of what the methods see: it changes whenever a value of the sources does."""
        digest = hashlib.sha256(f"{self.modality} {tuple(self.image.shape)}".encode())
        digest.update(np.ascontiguousarray(self.image.numpy()).tobytes())
        return digest.hexdigest()

    def noisy(self, noise: Noise, *, seed: int = 0) -> Case:
        """Return the case with noise on both sources, which depends on its name and the seed."""
        mask = self.head()
        sources = [
            noise.add(source, mask=mask, seed=(seed, self.title, role))
            for role, source in zip(("fixed", "moving"), self.image[0], strict=True)
        ]
        image = torch.stack(sources)[None]
        # Shown is what the methods get; their color is that of the clean sources.
        return replace(self, image=image, noise=noise)

    def colored_source(self) -> Tensor | None:
        """Return the source that gives the result its color, [3, H, W(, D)] in [0, 1]."""
        case = {"fixed": self.fixed, "moving": self.moving}
        key = color_source(case, modality=self.modality)
        return None if key is None else case[key]

    def head(self) -> Tensor:
        """Return where the head is, by the brighter source: boolean [H, W] or [H, W, D]."""
        brighter = self.image[0].amax(0)
        slices = brighter[None] if brighter.ndim == 2 else brighter.movedim(-1, 0)
        signed = (slices * 2 - 1).numpy().astype(np.float32)
        mask = torch.from_numpy(head_masks(signed))
        # A slice in which nothing is bright counts as one whole head there; here it has none.
        mask &= (slices > 0.075).flatten(1).any(1)[:, None, None]
        return mask[0] if brighter.ndim == 2 else mask.movedim(0, -1)


def check_distinct(cases: Sequence[Case]) -> None:
    """Refuse pairs that could not be told apart, and no pair at all.

    Raises:
        InputError: two have one title, or there is none.
    """
    seen: set[str] = set()
    for case in cases:
        if case.title in seen:
            raise InputError(f"the pair {case.title!r} occurs twice; rename one.")
        seen.add(case.title)
    if not cases:
        raise InputError("there is no pair; give at least one.")


def load_case(pair: Pair, **options: Any) -> Case:
    """Read a pair.

    Pictures are taken as they are. Volumes go through the bundle's own preprocessing: registration,
    one grid, gray levels by modality.

    Args:
        pair: where the images are.
        options: of the bundle's configuration, for volumes, for example ``registration``.

    Raises:
        InputError: if an image cannot be used.
    """
    if not pair.is_picture:
        if pair.modality == PictureModality.IR:
            raise InputError(f"{pair.fixed} is a volume; infrared pairs are pictures.")
        volumes = preprocess_volumes(
            pair.fixed, pair.moving, modality=pair.modality, options=options
        )
        window = options.get("window")
        return case_of_volumes(volumes, name=pair.name, modality=pair.modality, window=window)
    case: dict[Any, Any] = {"fixed": str(pair.fixed), "moving": str(pair.moving)}
    case = JoinLuminanced()(LoadPictured()(case))
    log_case_warnings(case, name=pair.name)
    shown = (_plain(case["fixed"]), _plain(case["moving"]))
    # Not by way of [-1, 1]: a value that two images share must stay one value.
    image = torch.cat([picture_luminance(picture) for picture in shown])
    return Case(
        name=pair.name, modality=pair.modality, image=image[None], fixed=shown[0], moving=shown[1]
    )


def case_of_volumes(
    volumes: Mapping[str, Any], *, name: str, modality: str, window: str | None = None
) -> Case:
    """Return the pair that the bundle's preprocessing leaves.

    Args:
        volumes: what `preprocess_volumes` returns.
        name: of the pair.
        modality: of the moving volume.
        window: of its gray levels, if it is not the modality's own.
    """
    log_case_warnings(volumes, name=name)
    image = ((_plain(volumes["image"]) + 1) / 2).clamp(0, 1)
    moving, shown = _plain(volumes["moving"]), image[1:]
    if len(moving) == 3:
        shown = (moving / white_level(moving)).clamp(0, 1)
    elif Modality.parse(modality).has_color:
        shown = _plain(PseudoColor()(volumes["image"][1:]))
    return Case(
        name=name,
        modality=modality,
        image=image[None],
        fixed=image[:1],
        moving=shown,
        spacing=tuple(float(edge) for edge in affine_to_spacing(volumes["image"].affine)),
        finding=finding_level(modality, None if window is None else str(window)),
    )


def _plain(image: Any) -> Tensor:
    plain: Tensor = convert_to_tensor(image, track_meta=False).float()
    return plain
