"""`benchmark-samples`: what is refused, its figures by hand, and the promised calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from run_cases import RecordingNet
from typer.testing import CliRunner

from monai_ddfm.apps.samples import SamplesResult, benchmark_samples
from monai_ddfm.apps.samples.figures import (
    LEVELS,
    area_under_curve,
    by_width,
    covered,
    share_right,
)
from monai_ddfm.apps.samples.plots import draw_reliability
from monai_ddfm.apps.samples.run import _Pair, _row
from monai_ddfm.cli import app
from monai_ddfm.errors import InputError


def test_intervals_of_normal_errors_hold_what_they_say() -> None:
    rng = np.random.default_rng(0)
    truth, scale = np.zeros(20000), 0.05 + 0.05 * rng.uniform(size=20000)
    fused = scale * rng.standard_normal(20000)
    # As many independent squares as those of 6 draws and their means around are worth.
    draws = fused + scale * rng.standard_normal((18, 20000))
    deviation = np.sqrt(np.square(draws - fused).mean(0))
    shares = covered(fused, truth, deviation, count=6)
    np.testing.assert_allclose(shares, LEVELS, atol=0.02)


def test_coverage_by_width_is_told_from_narrow_to_wide() -> None:
    deviation = np.array([3.0, 1.0, 2.0, 4.0, 5.0] * 4)
    assert by_width(deviation > 2, deviation) == [0.0] * 4 + [1.0] * 6


def test_area_under_the_curve_against_all_pairs() -> None:
    rng = np.random.default_rng(1)
    doubt, wrong = rng.integers(0, 5, 80).astype(float), rng.uniform(size=80) < 0.3
    pairs = doubt[wrong][:, None] - doubt[~wrong][None]
    expected = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    assert area_under_curve(doubt, wrong) == pytest.approx(expected)
    assert area_under_curve(doubt, wrong & False) is None


def test_share_of_right_weights_by_stability() -> None:
    stability, wrong = np.array([0.1, 0.3, 0.9, 1.0]), np.array([True, False, False, False])
    rows = share_right(stability, wrong, np.array([0.0, 0.5, 0.8, 1.0]))
    assert rows == [(pytest.approx(0.2), 0.5, 2), (pytest.approx(0.95), 1.0, 2)]


def test_table_and_plot(tmp_path: Path) -> None:
    row = {"modality": "PET", "covered": 0.9, "deviation": 0.03, "error": 0.04, "wrong": 0.1}
    row["by_width"] = [0.88, 0.9, 0.92]
    row |= {"off_mm": 0.3, "said_mm": 0.5, "by_level": list(LEVELS)}
    row["by_stability"] = [(0.55, 0.6, 10), (0.99, 1.0, 30)]
    rows = [row | {"seed": 1, "auc": 0.9}, row | {"seed": 2, "auc": None, "off_mm": 0.5}]
    text = SamplesResult(rows=rows).text
    for seed, off in (("  1", "0.30"), ("all", "0.41")):
        figures = f"90.0%   88%-92%  0.0300  0.0400     {off}      0.50   10.0%  0.900"
        assert f"PET        {seed}    {figures}\n" in text
    draw_reliability(tmp_path / "plot.png", rows)
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "x"], "seeds 'x' are unusable"),
        (["--scale", "9"], "scale 9 is unusable"),
        (["--samples", "1"], "1 samples have no spread"),
        (["--slices", "0"], "slices 0 are unusable"),
        (["--modalities", "US"], "modality 'US' is unknown; use PET, CT, SPECT"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["benchmark-samples", "-o", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": []}, "there is no head"),
        ({"scale": 0.5}, "scale 0.5 is unusable"),
        ({"slices": 0}, "slices 0 are unusable"),
    ],
)
def test_what_cannot_be_is_refused_from_python(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        benchmark_samples(**given)


def test_the_registration_is_judged_where_the_head_is() -> None:
    """A turn about the LPS origin: what it moves depends on the place, so on slices left out."""
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-30.0, -40.0, 0.0])
    head = np.zeros((32, 32, 11), dtype=bool)
    head[8:24, 4:27] = True
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 2, *head.shape, generator=generator) - 0.5
    volume = MetaTensor(image, affine=affine[None])
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    report = {"transform": turn.tolist(), "uncertainty": {"mm": 0.5}}
    pair = _Pair(
        modality="PET",
        seed=0,
        image=volume,
        draws=lambda number, sources: sources * (1 - 0.01 * number),
        report=report,
        truth=volume,
        head=head,
        transform=np.eye(4),
    )
    row = _row(pair, RecordingNet(), samples=2, slices=3, device="cpu")
    # A turn by an angle a about x moves a place by 2 sin(a / 2) times its distance from the axis.
    y, z = (np.arange(4, 27) * 2 - 40)[:, None], np.arange(11) * 5
    expected = 2 * np.sin(0.05) * np.sqrt((y**2 + z**2).mean())
    assert row["off_mm"] == pytest.approx(expected, rel=0.02)
    assert row["voxels"] == 16 * 23 * 3


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["PET", "CT", "SPECT"])
def test_intervals_hold_the_truth_of_a_simulated_head(modality: str, tmp_path: Path) -> None:
    result = benchmark_samples(modalities=[modality], seeds=[3], output_dir=tmp_path)
    (row,) = result.rows
    assert 0.87 <= row["covered"] <= 0.95
    assert row["auc"] >= 0.85
    assert json.loads((tmp_path / "samples.json").read_text())["settings"]["seeds"] == [3]
