"""The benchmark's figures against independent ones, for every kind of method and pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_makers import heads
from skimage.metrics import structural_similarity

from monai_ddfm.apps.benchmark import Noise, Prior, benchmark, find_pairs, load_case
from monai_ddfm.apps.benchmark.figures import measure_robustness
from monai_ddfm.apps.demo.pictures import make_picture_pair
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer
from monai_ddfm.likelihoods.baselines import fuse_baseline, stretch_contrast
from monai_ddfm.metrics import PUBLISHED_METRICS, evaluate_fusion


def test_robustness_against_scikit_image() -> None:
    case = heads("a", "CT", seed=3)
    noisy = case.noisy(Noise("gaussian", 20))
    first, second = (fuse_baseline(c.image, method="max") for c in (case, noisy))
    found = measure_robustness(case, first, second)
    mask = case.head().numpy()
    clean, moved = (image[0, 0].double().numpy() * 255 for image in (first, second))
    error = ((clean - moved) ** 2)[mask].mean()
    assert found["PSNR"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-4)
    options: dict[str, Any] = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    _, values = structural_similarity(clean, moved, data_range=255, full=True, **options)
    inside = mask.copy()
    inside[:5], inside[-5:], inside[:, :5], inside[:, -5:] = False, False, False, False
    assert found["SSIM"] == pytest.approx(values[inside].mean(), abs=1e-6)


def test_the_figures_are_those_of_the_metrics(pictures: Path, small_prior: Prior) -> None:
    pairs = find_pairs(pictures)
    result = benchmark(
        pairs, methods="average,guided,reference:steps=2", stretch="both", prior=small_prior
    )
    assert len(result.rows) == 3 * 3 * 2
    for row in result.rows:
        pair = next(p for p in pairs if (p.modality, p.name) == (row.modality, row.pair))
        case = load_case(pair)
        if row.method == "reference:steps=2":
            output = DDFMInferer(preset="reference", steps=2)(
                case.image * 2 - 1, small_prior.network
            )
            fused = (output[:, :1] + 1) / 2
        else:
            fused = fuse_baseline(case.image, method=row.method)
        excess = torch.relu(torch.maximum(fused - case.image.amax(1), case.image.amin(1) - fused))
        assert row.figures["excess"] == pytest.approx(float(excess.max()), abs=1e-5)
        shown = stretch_contrast(fused) if row.stretch else fused.clamp(0, 1)
        wanted = evaluate_fusion(shown, case.image, metrics=PUBLISHED_METRICS)
        for name in PUBLISHED_METRICS:
            assert row.figures[name] == pytest.approx(float(wanted[name]), rel=2e-3, abs=1e-4)
        assert ("hue" in row.figures) == (row.modality == "PET")


def test_functions_and_presets_from_python(small_prior: Prior) -> None:
    cases = [heads("a", "CT"), heads("b", "CT", seed=1, size=(24, 32))]
    methods = {
        "mine": lambda image: image[:, :1],
        "short": PRESETS["paper"],
        "max": "max",
    }
    result = benchmark(cases, methods=methods, steps=2, metrics=["SD"], prior=small_prior)
    assert result.methods == ["mine", "short", "max"]
    assert result.baselines == ["max"]
    own = [row.figures["SD"] for row in result.rows if row.method == "mine"]
    expected = [float((c.image[0, 0] * 255).round().std(correction=0)) for c in cases]
    np.testing.assert_allclose(own, expected, rtol=1e-5)


def test_a_function_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(InputError, match="a method gave"):
        benchmark([heads("a", "CT")], methods={"bad": lambda image: image})


def test_the_result_does_not_depend_on_company(small_prior: Prior) -> None:
    cases = [heads("a", "CT"), heads("b", "CT", seed=1), heads("c", "PET", seed=2)]
    together = benchmark(cases, methods="default:steps=2,pyramid", prior=small_prior)
    alone = [benchmark([c], methods="default:steps=2,pyramid", prior=small_prior) for c in cases]
    wanted = {(r.pair, r.method): r.figures for one in alone for r in one.rows}
    for row in together.rows:
        for name, value in row.figures.items():
            assert value == pytest.approx(wanted[row.pair, row.method][name], rel=1e-6, nan_ok=True)


def test_pairs_of_infrared_pictures(tmp_path: Path, small_prior: Prior) -> None:
    make_picture_pair(tmp_path / "street", width=64, height=48)
    result = benchmark(tmp_path, methods="average,default:steps=1", prior=small_prior)
    assert result.modalities == ["IR"]
    assert max(row.figures["hue"] for row in result.rows) < 0.5


@pytest.mark.slow
def test_the_published_pairs(shared: Path, tmp_path: Path) -> None:
    """The plain rules give the figures that were measured on like pairs independently."""
    result = benchmark(
        shared / "data" / "aanlib_dev", methods="average,max", output_dir=tmp_path, pictures=False
    )
    assert len(result.rows) == 36
    for modality in ("CT", "PET", "SPECT"):
        won = result.better("max", "average", modality=modality)
        assert won["SD"]
        assert won["SF"]
        assert won["MI"]
        assert won["Qabf"]


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ("max", 0),
        ("contrast:steps=3", 3),
        ("contrast:start=noise,steps=4", 4),
        ("contrast:start_timestep=300,steps=10", 3),
        ("contrast:start=noise,steps=8,early_stop=2.0", 5),  # a step after the first half
    ],
)
def test_calls_of_the_network_are_counted(
    method: str, evaluations: int, small_prior: Prior, tmp_path: Path
) -> None:
    cases = [heads("a", "CT"), heads("b", "CT")]
    for _ in range(2):  # computed, and then kept
        result = benchmark(
            cases, methods=method, prior=small_prior, output_dir=tmp_path, pictures=False
        )
        assert [row.evaluations for row in result.rows] == [evaluations] * 2
    label = result.methods[0]
    assert result.evaluations(label, modality="CT") == evaluations
    assert "evals" in result.text
    assert result.json["means"][0]["evaluations"] == evaluations
