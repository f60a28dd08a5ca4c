"""What several samples say beyond their mean, taken out of the inferer's result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_ddfm.utils.former_names import renamed

__all__ = ["SplitEnsembleD", "SplitEnsembleDict", "SplitEnsembled"]

_CHANNELS = 4


class SplitEnsembled(Transform):  # type: ignore[misc]
    """Move the third and fourth channel of the result, if it has them, to keys of their own.

    Args:
        pred_key: result of `EnsembleInferer`, [2 or 4, H, W(, D)]; two channels are left.
        std_key: where the standard deviation of the fused luminance goes, [1, H, W(, D)], on the
            scale of the written luminance, 0 to 1.
        stability_key: where the stability of the weight goes, [1, H, W(, D)] in [0, 1].
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(
        self,
        pred_key: str = "pred",
        *,
        std_key: str = "fused_std",
        stability_key: str = "weight_stability",
    ) -> None:
        self.pred_key, self.std_key, self.stability_key = pred_key, std_key, stability_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Split.

        Args:
            data: a case with the result of the inferer.

        Returns:
            The case; from one sample it is unchanged.

        Raises:
            ValueError: if the result has neither two nor four channels.
        """
        pred = data[self.pred_key]
        if len(pred) == 2:
            return dict(data)
        if len(pred) != _CHANNELS:
            raise ValueError(f"expected 2 or 4 channels, got {tuple(pred.shape)}")
        # Copies, so that no part keeps the memory of all of them.
        return {
            **data,
            self.pred_key: pred[:2].clone(),
            # The luminance comes in [-1, 1] and is written in [0, 1].
            self.std_key: pred[2:3] / 2,
            self.stability_key: pred[3:].clone(),
        }


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
