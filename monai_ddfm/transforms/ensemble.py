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
the seed and n alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type

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
    "SourceDraws",
    "SplitEnsembleD",
    "SplitEnsembleDict",
    "SplitEnsembled",
]

_CHANNELS = (2, 4, 6)
_GIVEN = {
    "none": "not drawn: the volumes are said to be aligned",
    "transform file": "not drawn: the transform was given, how exact it is is not known",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceDraws:
    """Draws the sources of a run again.

    Attributes:
        moving: as it was loaded, [1 or 3, H', W', D'].
        grid: a volume on the working grid.
        transform: from points of fixed to points of moving, LPS mm.
        gray: maps the units of moving to [-1, 1].
        noises: of fixed on the working grid, in [-1, 1], and of moving on its own, in its units.
        uncertainty: of the transform; None draws none.
        interpolation: as in the registration.
        outside: value beyond the field of view of moving.
        seed: of all draws.
    """

    moving: MetaTensor
    grid: MetaTensor
    transform: Any
    gray: IntensityMap
    noises: tuple[ScanNoise, ScanNoise]
    uncertainty: RigidUncertainty | None
    interpolation: Interpolation
    outside: float
    seed: int

    def __call__(self, number: int, sources: torch.Tensor) -> torch.Tensor:
        """Draw.

        Args:
            number: of the draw, from 1.
            sources: of the run, [1, 2, H, W, D] in [-1, 1]; they are left as they are.

        Returns:
            The like of them, with their metadata.
        """
        motion, of_fixed, of_moving = (
            np.random.default_rng([self.seed, number, part]) for part in range(3)
        )
        moving = self.moving + self.noises[1].drawn(self.moving.as_tensor(), of_moving)
        placed = resample(
            moving,
            self.grid,
            self._transform(motion),
            interpolation=self.interpolation,
            outside=self.outside,
        ).as_tensor()
        placed = luminance(placed, dim=0) if len(placed) == 3 else placed
        drawn = sources.as_subclass(torch.Tensor).clone()
        drawn[0, 1] = self.gray.forward(placed)[0].to(drawn)
        fixed = drawn[0, :1]
        noise = self.noises[0].drawn(fixed, of_fixed)
        # What was cut off at the ends of the scale has no noise that could be seen.
        within = fixed.abs() < END_OF_RANGE
        drawn[0, :1] = torch.where(within, (fixed + noise).clamp(-1, 1), fixed)
        again: torch.Tensor = convert_to_dst_type(drawn, sources)[0]
        return again

    def _transform(self, generator: np.random.Generator) -> Any:
        if self.uncertainty is None:
            return self.transform
        motion = self.uncertainty.drawn(generator)
        if self.transform.IsLinear():
            return linear(transform_matrix(self.transform) @ motion)
        return sitk.CompositeTransform([self.transform, linear(motion)])


class DrawSourcesd(MapTransform):  # type: ignore[misc]
    """Add what draws the sources of a case again, `SourceDraws`.

    Args:
        image_key: both sources as they are fused, [2, H, W, D] in [-1, 1].
        moving_key: the moving volume on the working grid, with the report of its registration; its
            report ``"samples"`` says what is drawn.
        scaled_key: the same in [-1, 1], with the report of its gray scale.
        source_key: the moving volume as it was loaded.
        draws_key: where the `SourceDraws` goes.
        seed: of all draws.
    """

    def __init__(
        self,
        image_key: str = "image",
        moving_key: str = "moving",
        *,
        scaled_key: str = "moving_scaled",
        source_key: str = "moving_source",
        draws_key: str = "draws",
        seed: int = 0,
    ) -> None:
        super().__init__((image_key, moving_key))
        self.image_key, self.moving_key = image_key, moving_key
        self.scaled_key, self.source_key = scaled_key, source_key
        self.draws_key = draws_key
        self.seed = seed

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Measure the noise of both sources, and add the draws.

        Args:
            data: a case after the registration and the scaling of both volumes.
        """
        case = dict(data)
        image, moving, source = (
            case[key] for key in (self.image_key, self.moving_key, self.source_key)
        )
        placed = reports_of(moving)["registration"]
        gray = reports_of(case[self.scaled_key])["intensity"]
        shown = source.as_tensor()
        shown = luminance(shown, dim=0)[0] if len(shown) == 3 else shown[0]
        noises = scan_noise(image[0].as_tensor()), scan_noise(shown)
        known = placed.get("uncertainty")
        case[self.draws_key] = SourceDraws(
            moving=source,
            grid=moving,
            transform=transform_of(moving),
            gray=IntensityMap(tuple(gray["knots"]), tuple(gray["values"])),
            noises=noises,
            uncertainty=None if known is None else RigidUncertainty.of(known),
            interpolation=placed["interpolation"],
            outside=placed["outside"],
            seed=self.seed,
        )
        drawn = {
            "registration": _GIVEN.get(placed["method"], "not drawn") if known is None else "drawn",
            "registration_mm": None if known is None else known["mm"],
            "noise": {"fixed": noises[0].described(), "moving": noises[1].described()},
        }
        add_report(moving, "samples", drawn)
        return case


class SplitEnsembled(Transform):  # type: ignore[misc]
    """Move the channels of the result after the second, if it has them, to keys of their own.

    Args:
        pred_key: result of `EnsembleInferer`, [2, 4 or 6, H, W(, D)]; two channels are left.
        std_key: where the standard deviation of the fused luminance goes, [1, H, W(, D)], on the
            scale of the written luminance, 0 to 1.
        stability_key: where the stability of the weight goes, [1, H, W(, D)] in [0, 1].
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
        stability_key: str = "weight_stability",
        low_key: str = "fused_low",
        high_key: str = "fused_high",
    ) -> None:
        self.pred_key, self.std_key, self.stability_key = pred_key, std_key, stability_key
        self.low_key, self.high_key = low_key, high_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Split.

        Args:
            data: a case with the result of the inferer.

        Returns:
            The case; from one sample it is unchanged.

        Raises:
            ValueError: if the result has not two, four or six channels.
        """
        case = dict(data)
        pred = case[self.pred_key]
        if len(pred) not in _CHANNELS:
            raise ValueError(f"expected 2, 4 or 6 channels, got {tuple(pred.shape)}")
        if len(pred) == 2:
            return case
        # Copies, so that no part keeps the memory of all of them.
        case[self.pred_key] = pred[:2].clone()
        # The luminance comes in [-1, 1] and is written in [0, 1].
        case[self.std_key] = pred[2:3] / 2
        case[self.stability_key] = pred[3:4].clone()
        if len(pred) == 6:
            case[self.low_key] = (pred[4:5] + 1) / 2
            case[self.high_key] = (pred[5:] + 1) / 2
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
