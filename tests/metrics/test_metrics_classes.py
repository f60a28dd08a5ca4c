"""The MONAI metric classes: alone, in an evaluator and out of a bundle's configuration."""

from __future__ import annotations

import math

import pytest
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler
from monai.handlers.utils import from_engine
from torch import Tensor, nn

from monai_ddfm import metrics
from monai_ddfm.errors import InputError
from monai_ddfm.metrics import (
    METRICS,
    EntropyMetric,
    FMIMetric,
    FusionMetric,
    FusionSSIMMetric,
    MutualInformationMetric,
    QabfMetric,
    SCDMetric,
    StandardDeviationMetric,
    evaluate_fusion,
)

CLASSES = [
    value
    for value in vars(metrics).values()
    if isinstance(value, type) and issubclass(value, FusionMetric) and value is not FusionMetric
]


def pictures(batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(batch, 2, 44, 44, generator=generator)
    return sources.amax(dim=1, keepdim=True), sources


def test_there_is_a_class_for_every_metric() -> None:
    assert {cls.name for cls in CLASSES} | {"SSIM-255"} == set(METRICS)


@pytest.mark.parametrize("convention", ["evaluator", "mean"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_classes_agree_with_the_table(cls: type[FusionMetric], convention: str) -> None:
    fused, sources = pictures()
    metric = cls(convention=convention)  # type: ignore[arg-type]
    expected = evaluate_fusion(fused, sources, metrics=[cls.name], convention=convention)  # type: ignore[arg-type]
    found = metric(y_pred=fused, y=sources)
    assert isinstance(found, Tensor)
    assert found.shape == (3, 1)
    torch.testing.assert_close(found[:, 0].double(), expected[cls.name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        metric.aggregate().item(), expected[cls.name].mean().item(), atol=1e-4, rtol=1e-5
    )


def test_lists_of_images_and_several_calls_add_up() -> None:
    fused, sources = pictures()
    together, apart = QabfMetric(), QabfMetric()
    together(y_pred=fused, y=sources)
    apart(y_pred=list(fused[:2]), y=list(sources[:2]))
    apart(y_pred=fused[2:], y=sources[2:])
    assert torch.equal(together.aggregate("none"), apart.aggregate("none"))
    apart.reset()
    with pytest.raises(ValueError, match="not been called"):
        apart.aggregate()


def test_options_of_single_metrics() -> None:
    fused, sources = pictures()
    mean_bits = MutualInformationMetric(convention="mean")(y_pred=fused, y=sources)
    sum_bits = MutualInformationMetric(unit="bits")(y_pred=fused, y=sources)
    sum_nats = MutualInformationMetric()(y_pred=fused, y=sources)
    torch.testing.assert_close(sum_nats, sum_bits * math.log(2))
    torch.testing.assert_close(sum_bits.float(), 2 * mean_bits, atol=2e-2, rtol=0)
    modern = FusionSSIMMetric(modern=True)(y_pred=fused, y=sources)
    expected = evaluate_fusion(fused, sources, metrics=["SSIM-255"])["SSIM-255"]
    torch.testing.assert_close(modern[:, 0].double(), expected, atol=1e-6, rtol=0)
    pixel, dct = (FMIMetric(feature=name)(y_pred=fused, y=sources) for name in ("pixel", "dct"))
    assert not torch.allclose(pixel, dct)


def test_undefined_values_are_left_out_of_the_mean() -> None:
    fused, sources = pictures()
    metric = SCDMetric()
    values = metric(y_pred=fused, y=sources)
    sources[1, 1] = 0
    metric(y_pred=fused, y=sources)
    assert metric.aggregate("none").isnan().sum() == 1
    expected = (values.sum() + values[0] + values[2]) / 5
    torch.testing.assert_close(metric.aggregate(), expected)
    metric.reset()
    metric(y_pred=fused[1:2], y=sources[1:2])
    assert metric.aggregate().isnan()


def test_network_range_and_volumes() -> None:
    fused, sources = pictures()
    expected = StandardDeviationMetric()(y_pred=fused, y=sources)
    metric = StandardDeviationMetric(data_range=(-1, 1), axis=0)
    volume, pair = ((image * 2 - 1).unsqueeze(2) for image in (fused, sources))
    torch.testing.assert_close(metric(y_pred=volume, y=pair), expected)


def test_sources_are_needed() -> None:
    fused, sources = pictures()
    with pytest.raises(InputError, match="EN needs the sources"):
        EntropyMetric()(y_pred=fused)
    with pytest.raises(TypeError, match="spacing"):
        EntropyMetric()(y_pred=fused, y=sources, spacing=1)


class Maximum(nn.Module):
    """Stands for a fusion network."""

    def forward(self, image: Tensor) -> Tensor:
        return image.amax(dim=1, keepdim=True)


def test_in_an_evaluator_from_a_configuration() -> None:
    parser = ConfigParser(
        {
            "key_metric": {
                "Qabf": {
                    "_target_": "IgniteMetricHandler",
                    "metric_fn": {"_target_": "monai_ddfm.metrics.QabfMetric", "axis": -1},
                    "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
                }
            },
            "imports": ["$import monai"],
        }
    )
    fused, sources = pictures(4)
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=[{"image": part, "label": part} for part in sources.split(2)],
        network=Maximum(),
        key_val_metric=parser.get_parsed_content("key_metric"),
        additional_metrics={
            "SD": IgniteMetricHandler(
                StandardDeviationMetric(), output_transform=from_engine(["pred", "label"])
            )
        },
    )
    evaluator.run()
    expected = evaluate_fusion(fused, sources, metrics=["Qabf", "SD"])
    for name, values in expected.items():
        assert evaluator.state.metrics[name] == pytest.approx(values.mean().item(), rel=1e-5)
