r"""Sources drawn again, and what several fusions say beyond one.

Other scans, and another registration, might have shown the sources otherwise. A draw of them is the
fixed volume with more of its own noise, and the moving one with more of its own noise, drawn on its
own grid, interpolated once with a transform that might as well be the true one, and brought to the
gray scale of the run:

.. math::

    v' = v + n_v, \qquad i' = W\big((i + n_i) \circ T \circ \theta\big), \qquad
    \theta \sim N(0, \Sigma) .

(`monai_ddfm.likelihoods.scan_noise`, `monai_ddfm.transforms.registration_uncertainty`.) The true
sources lie as far from those of the run as the draws do, to first order. Draw number n depends on
the seed and n alone. Several moving volumes have each a noise, a grid, a transform and its
uncertainty of their own, and are drawn independently: neither noise nor a displacement of one says
anything of another's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, ensure_tuple

from monai_ddfm.data.transform_files import transform_matrix, transform_of
from monai_ddfm.likelihoods.noise_model import END_OF_RANGE
from monai_ddfm.likelihoods.scan_noise import ScanNoise, scan_noise
from monai_ddfm.transforms.histogram import IntensityMap
from monai_ddfm.transforms.registration_optimizer import linear
from monai_ddfm.transforms.registration_uncertainty import RigidUncertainty
from monai_ddfm.transforms.simpleitk_bridge import Interpolation, resample
from monai_ddfm.utils.color import luminance
from monai_ddfm.utils.former_names import renamed
from monai_ddfm.utils.reports import add_report, reports_of

__all__ = [
    "DrawSourcesD",
    "DrawSourcesDict",
    "DrawSourcesd",
    "MovingDraws",
    "SourceDraws",
    "SplitEnsembleD",
    "SplitEnsembleDict",
    "SplitEnsembled",
]

_GIVEN = {
    "none": "not drawn: the volumes are said to be aligned",
    "transform file": "not drawn: the transform was given, how exact it is is not known",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MovingDraws:
    """Draws a moving volume of a run again.

    Attributes:
        volume: as it was loaded, [1 or 3, H', W', D'].
        transform: from points of fixed to points of it, LPS mm.
        gray: maps its units to [-1, 1].
        noise: on its own grid, in its units.
        uncertainty: of the transform; None draws none.
        interpolation: as in the registration.
        outside: value beyond its field of view.
    """

    volume: MetaTensor
    transform: Any
    gray: IntensityMap
    noise: ScanNoise
    uncertainty: RigidUncertainty | None
    interpolation: Interpolation
    outside: float

    def drawn(
        self, grid: MetaTensor, motion: np.random.Generator, noise: np.random.Generator
    ) -> torch.Tensor:
        """Draw.

        Args:
            grid: a volume on the working grid.
            motion: draws the transform.
            noise: draws the noise.

        Returns:
            [H, W, D] in [-1, 1] on that grid.
        """
        placed = resample(
            self.volume + self.noise.drawn(self.volume.as_tensor(), noise),
            grid,
            self._transform(motion),
            interpolation=self.interpolation,
            outside=self.outside,
        ).as_tensor()
        placed = luminance(placed, dim=0) if len(placed) == 3 else placed
        return self.gray.forward(placed)[0]

    def _transform(self, generator: np.random.Generator) -> Any:
        if self.uncertainty is None:
            return self.transform
        motion = self.uncertainty.drawn(generator)
        if self.transform.IsLinear():
            return linear(transform_matrix(self.transform) @ motion)
        return sitk.CompositeTransform([self.transform, linear(motion)])


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceDraws:
    """Draws the sources of a run again.

    Attributes:
        moving: the moving volumes, in the order of their channels.
        grid: a volume on the working grid.
        noise: of fixed on the working grid, in [-1, 1].
        seed: of all draws.
    """

    moving: tuple[MovingDraws, ...]
    grid: MetaTensor
    noise: ScanNoise
    seed: int

    def __call__(self, number: int, sources: torch.Tensor) -> torch.Tensor:
        """Draw.

        Args:
            number: of the draw, from 1.
            sources: of the run, [1, 1 + N, H, W, D] in [-1, 1]; they are left as they are.

        Returns:
            The like of them, with their metadata.
        """
        placed = [
            one.drawn(self.grid, *(self._generator(number, part, place) for part in (0, 2)))
            for place, one in enumerate(self.moving)
        ]
        drawn = sources.as_subclass(torch.Tensor).clone()
        for channel, volume in enumerate(placed, start=1):
            drawn[0, channel] = volume.to(drawn)
        fixed = drawn[0, :1]
        noisy = fixed + self.noise.drawn(fixed, self._generator(number, 1))
        # What was cut off at the ends of the scale has no noise that could be seen.
        within = fixed.abs() < END_OF_RANGE
        drawn[0, :1] = torch.where(within, noisy.clamp(-1, 1), fixed)
        again: torch.Tensor = convert_to_dst_type(drawn, sources)[0]
        return again

    def _generator(self, number: int, part: int, place: int = 0) -> np.random.Generator:
        """Return what draws a part; that of the first moving volume has no place in its seed."""
        return np.random.default_rng([self.seed, number, part, *([place] if place else [])])


class DrawSourcesd(MapTransform):  # type: ignore[misc]
    """Add what draws the sources of a case again, `SourceDraws`.

    Args:
        image_key: all sources as they are fused, [1 + N, H, W, D] in [-1, 1].
        moving_key: the moving volume on the working grid, with the report of its registration, or
            several; the report ``"samples"`` of each says what is drawn.
        scaled_key: the same in [-1, 1], with the report of its gray scale, one for each.
        source_key: the moving volume as it was loaded, one for each.
        draws_key: where the `SourceDraws` goes.
        seed: of all draws.
    """

    def __init__(
        self,
        image_key: str = "image",
        moving_key: KeysCollection = "moving",
        *,
        scaled_key: KeysCollection = "moving_scaled",
        source_key: KeysCollection = "moving_source",
        draws_key: str = "draws",
        seed: int = 0,
    ) -> None:
        self.moving_keys = ensure_tuple(moving_key)
        super().__init__((image_key, *self.moving_keys))
        self.image_key = image_key
        self.scaled_keys, self.source_keys = ensure_tuple(scaled_key), ensure_tuple(source_key)
        self.draws_key = draws_key
        self.seed = seed

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Measure the noise of all sources, and add the draws.

        Args:
            data: a case after the registration and the scaling of all volumes.
        """
        case = dict(data)
        of_fixed = scan_noise(case[self.image_key][0].as_tensor())
        draws = []
        for keys in zip(self.moving_keys, self.scaled_keys, self.source_keys, strict=True):
            moving, scaled, source = (case[key] for key in keys)
            one = _moving_draws(moving, scaled, source)
            add_report(moving, "samples", _described(one, moving, of_fixed))
            draws.append(one)
        case[self.draws_key] = SourceDraws(
            moving=tuple(draws), grid=case[self.moving_keys[0]], noise=of_fixed, seed=self.seed
        )
        return case


def _moving_draws(moving: MetaTensor, scaled: MetaTensor, source: MetaTensor) -> MovingDraws:
    """Return what draws a moving volume again, with its noise measured."""
    placed, gray = reports_of(moving)["registration"], reports_of(scaled)["intensity"]
    shown = source.as_tensor()
    shown = luminance(shown, dim=0)[0] if len(shown) == 3 else shown[0]
    known = placed.get("uncertainty")
    return MovingDraws(
        volume=source,
        transform=transform_of(moving),
        gray=IntensityMap(tuple(gray["knots"]), tuple(gray["values"])),
        noise=scan_noise(shown),
        uncertainty=None if known is None else RigidUncertainty.of(known),
        interpolation=placed["interpolation"],
        outside=placed["outside"],
    )


def _described(one: MovingDraws, moving: MetaTensor, of_fixed: ScanNoise) -> dict[str, Any]:
    """Return what goes into the record about the draws of a moving volume."""
    placed = reports_of(moving)["registration"]
    known = placed.get("uncertainty")
    return {
        "registration": _GIVEN.get(placed["method"], "not drawn") if known is None else "drawn",
        "registration_mm": None if known is None else known["mm"],
        "noise": {"fixed": of_fixed.described(), "moving": one.noise.described()},
    }


class SplitEnsembled(Transform):  # type: ignore[misc]
    """Move what the result has beyond luminance and shares, if anything, to keys of its own.

    Args:
        pred_key: result of `EnsembleInferer`, [C, H, W(, D)]; of N moving volumes 1 + N channels
            are left.
        std_key: where the standard deviation of the fused luminance goes, [1, H, W(, D)], on the
            scale of the written luminance, 0 to 1.
        stability_key: where the stability of the weight goes, [1, H, W(, D)] in [0, 1]; or keys,
            one for each of several moving volumes.
        low_key: where the lower end of the luminance's interval goes, [1, H, W(, D)], on the scale
            of the written luminance.
        high_key: where the upper end goes, likewise.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(
        self,
        pred_key: str = "pred",
        *,
        std_key: str = "fused_std",
        stability_key: KeysCollection = "weight_stability",
        low_key: str = "fused_low",
        high_key: str = "fused_high",
    ) -> None:
        self.pred_key, self.std_key = pred_key, std_key
        self.stability_keys = ensure_tuple(stability_key)
        self.low_key, self.high_key = low_key, high_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Split.

        Args:
            data: a case with the result of the inferer.

        Returns:
            The case; from one sample it is unchanged.

        Raises:
            ValueError: if the result has other channels than of one sample, of several seeds, or of
                sources drawn again; of one moving volume two, four or six.
        """
        case = dict(data)
        pred = case[self.pred_key]
        plain = 1 + len(self.stability_keys)  # channels of a plain fusion: luminance and shares
        known = (plain, 2 * plain, 2 * plain + 2)
        if len(pred) not in known:
            raise ValueError(
                "expected {}, {} or {} channels, got {}".format(*known, tuple(pred.shape))
            )
        if len(pred) == plain:
            return case
        # Copies, so that no part keeps the memory of all of them.
        case[self.pred_key] = pred[:plain].clone()
        # The luminance comes in [-1, 1] and is written in [0, 1].
        case[self.std_key] = pred[plain : plain + 1] / 2
        for channel, key in enumerate(self.stability_keys, start=plain + 1):
            case[key] = pred[channel : channel + 1].clone()
        if len(pred) > 2 * plain:
            case[self.low_key] = (pred[-2:-1] + 1) / 2
            case[self.high_key] = (pred[-1:] + 1) / 2
        return case


DrawSourcesD = DrawSourcesDict = DrawSourcesd
SplitEnsembleD = SplitEnsembleDict = SplitEnsembled

if not TYPE_CHECKING:  # for one release
    __getattr__ = renamed(
        __name__,
        {
            "SplitSpreadd": "SplitEnsembled",
            "SplitSpreadD": "SplitEnsembleD",
            "SplitSpreadDict": "SplitEnsembleDict",
        },
    )
