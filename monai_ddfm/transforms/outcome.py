"""What the inferer tells, taken apart: the fused luminance, and a share for each moving volume."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_ddfm.sources import Source
from monai_ddfm.transforms.utility import with_meta_of
from monai_ddfm.utils.reports import add_report, reports_of

__all__ = ["SplitFusionD", "SplitFusionDict", "SplitFusiond"]


class SplitFusiond(Transform):  # type: ignore[misc]
    """Give the channels of the inferer's result keys of their own.

    Args:
        sources: the moving volumes, in the order of their channels.
        pred_key: result of the inferer, [1 + N, H, W(, D)]; removed from the case.
        fused_key: where the luminance goes, [1, H, W(, D)]; each share goes to the `weight_key` of
            its source.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(
        self, sources: Sequence[Source], pred_key: str = "pred", *, fused_key: str = "fused"
    ) -> None:
        self.sources, self.pred_key, self.fused_key = tuple(sources), pred_key, fused_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Split.

        Args:
            data: a case with the result of the inferer.

        Returns:
            The case, with the names of the sources in the report "noise".

        Raises:
            ValueError: if the result has not one channel more than there are sources.
        """
        case = dict(data)
        pred = case.pop(self.pred_key)
        if len(pred) != 1 + len(self.sources):
            raise ValueError(f"expected {1 + len(self.sources)} channels, got {tuple(pred.shape)}")
        if len(self.sources) > 1:
            self._name(pred)
        keys = [self.fused_key, *(source.weight_key for source in self.sources)]
        for number, key in enumerate(keys):
            # A copy, so that no part keeps the memory of all of them.
            part = pred[number : number + 1]
            case[key] = with_meta_of(pred, part.as_tensor().clone())
        return case

    def _name(self, pred: MetaTensor) -> None:
        """Call the sources by their names in the report "noise", where the inferer counts them."""
        report = reports_of(pred).get("noise")
        if report is not None:
            names = {f"moving_{n}": source.key for n, source in enumerate(self.sources, start=1)}
            add_report(pred, "noise", {names.get(key, key): v for key, v in report.items()})


SplitFusionD = SplitFusionDict = SplitFusiond
