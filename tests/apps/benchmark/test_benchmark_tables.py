"""What a benchmark writes: tables, a file of every figure, pictures."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_cases import NOTICE, demo_subject

from monai_ddfm.apps.benchmark import BenchmarkResult, MethodRow, Pair, Prior, benchmark


def handmade() -> BenchmarkResult:
    table = {"average": (1.0, 2.0), "max": (3.0, 1.0), "ours": (2.0, 2.5)}
    rows = [
        MethodRow(
            modality="CT",
            pair=pair,
            method=method,
            stretch=False,
            figures={"EN": values[0] + shift, "SD": values[1] - shift, "excess": 0.0},
            seconds=0.5,
        )
        for method, values in table.items()
        for pair, shift in (("a", 0.0), ("b", 0.5))
    ]
    return BenchmarkResult(
        metrics=("EN", "SD"),
        methods=["average", "max", "ours"],
        baselines=["average", "max"],
        rows=rows,
    )


def test_means_and_comparisons() -> None:
    result = handmade()
    assert result.mean("EN", modality="CT", method="ours") == 2.25
    assert math.isnan(result.mean("EN", modality="PET", method="ours"))
    assert result.better("ours", "max", modality="CT") == {"EN": False, "SD": True}
    text = result.text
    assert "CT: means over 2 pairs, no stretch" in text
    assert "ours: better than average in 2 of 2\n" in text
    assert "ours: better than max in 1 of 2 (not EN)\n" in text
    best = next(line for line in text.splitlines() if line.startswith("ours "))
    assert best.split()[:3] == ["ours", "2.250", "2.25*"]
    assert text.endswith(NOTICE + "\n")


def test_csv_and_json_hold_every_figure() -> None:
    result = handmade()
    lines = list(csv.DictReader(result.csv.splitlines()))
    assert len(lines) == 6
    assert lines[-1]["method"] == "ours"
    assert float(lines[-1]["EN"]) == 2.5
    document = result.json
    ours = next(mean for mean in document["means"] if mean["method"] == "ours")
    assert ours["better_than"] == {"average": ["EN", "SD"], "max": ["SD"]}
    assert document["notice"] == NOTICE


def test_what_is_written(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = benchmark(pictures, methods="average,max", noise="rician:10", output_dir=out)
    assert (out / "benchmark.txt").read_text(encoding="utf-8") == result.text
    assert (out / "benchmark.csv").read_text(encoding="utf-8") == result.csv
    document = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    assert document["settings"]["noise"] == ["rician:10"]
    assert document["settings"]["priors"] == {}
    assert len(document["robustness"]) == 6
    drawn = {path.name for path in (out / "pictures").iterdir()}
    names = {"CT-c", "PET-a", "PET-b"}
    assert drawn == {f"{n}.png" for n in names} | {f"{n}-rician-10.png" for n in names}
    with Image.open(out / "pictures" / "PET-a.png") as opened:
        assert opened.text["Description"] == NOTICE  # type: ignore[attr-defined]
        grid = np.asarray(opened).astype(int)
    # Panels of 352 x 384, the results in color as their source is.
    tiles = [grid[48:432, 8 + 360 * n : 360 + 360 * n] for n in (0, 1, 2)]
    spread = [float((tile.max(-1) - tile.min(-1)).max()) for tile in tiles]
    assert spread[0] == 0
    assert spread[1] > 40
    assert spread[2] > 40


def test_volumes_go_through_the_bundle_and_show_their_flicker(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, small_prior: Prior
) -> None:
    subject = demo_subject(tmp_path_factory.getbasetemp(), "PET", dicom=True)
    pair = Pair(name="demo", modality="PET", fixed=subject.fixed, moving=subject.moving)
    result = benchmark(
        [pair],
        methods="max,pyramid",
        metrics=["SD"],
        registration="none",
        output_dir=tmp_path,
        prior=small_prior,
    )
    maximum, pyramid = (row.figures for row in result.rows)
    assert maximum["flicker"] < 1e-4
    assert pyramid["flicker"] > 1e-3
    assert (tmp_path / "pictures" / "PET-demo.png").is_file()
