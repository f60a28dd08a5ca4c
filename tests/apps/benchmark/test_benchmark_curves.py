"""Methods that differ in one number are one curve of the benchmark's plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmark_makers import heads
from PIL import Image
from run_cases import NOTICE

from monai_ddfm.apps.benchmark import Prior, benchmark, parse_methods
from monai_ddfm.apps.benchmark.curves import ways
from monai_ddfm.apps.benchmark.plots import families


def test_presets_that_differ_in_a_number_are_one_curve(tmp_path: Path, small_prior: Prior) -> None:
    methods = (
        "max,default:prior_share=0.6,default:prior_share=0.1,default:prior=identity,"
        "default:prior_share=0.3,prior=identity"
    )
    about = {m.label: {"name": m.name, **m.options} for m in parse_methods(methods)}
    assert families(about, ["max"]) == [
        ["max"],
        ["default:prior_share=0.1", "default:prior_share=0.6"],
        ["default:prior=identity"],
        ["default:prior_share=0.3,prior=identity"],
    ]
    cases = [heads("a", "CT"), heads("b", "PET")]
    benchmark(
        cases,
        methods="max,default:prior_share=0.6,default:prior_share=0.1",
        steps=1,
        noise="gaussian:10,poisson:10",
        output_dir=tmp_path,
        prior=small_prior,
        pictures=False,
    )
    for noise in ("gaussian", "poisson"):
        with Image.open(tmp_path / f"tradeoff-{noise}-10.png") as opened:
            assert np.asarray(opened.convert("L")).std() > 10
            assert opened.text["Description"] == NOTICE  # type: ignore[attr-defined]


def test_ways_that_differ_in_steps_are_one_curve(tmp_path: Path, small_prior: Prior) -> None:
    methods = (
        "max,default:steps=2,default:solver=dpm++,steps=2,default:steps=1,"
        "default:steps=4,early_stop=0.1,default:steps=4,early_stop=0.2"
    )
    about = {m.label: {"name": m.name, **m.options} for m in parse_methods(methods)}
    assert ways(about) == {
        "max": ["max"],
        "default": ["default:steps=2", "default:steps=1"],
        "default: solver=dpm++": ["default:solver=dpm++,steps=2"],
        "default: early stop": ["default:steps=4,early_stop=0.1", "default:steps=4,early_stop=0.2"],
    }
    cases = [heads("a", "CT"), heads("b", "PET")]
    options = {"methods": "max,default:steps=1,default:steps=2", "prior": small_prior}
    benchmark(cases, output_dir=tmp_path, noise="gaussian:10", pictures=False, **options)
    with Image.open(tmp_path / "evaluations.png") as opened:
        assert np.asarray(opened.convert("L")).std() > 10
        assert opened.text["Description"] == NOTICE  # type: ignore[attr-defined]
    benchmark(cases, methods="max,average", output_dir=tmp_path / "plain", pictures=False)
    assert not (tmp_path / "plain" / "evaluations.png").exists()
