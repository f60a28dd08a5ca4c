from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_makers import NETWORK, SCHEDULER, Oracle, images, save_heads, tiny_network

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.training.baselines import baselines, head_masks, psnr_inside, tuned
from monai_ddfm.training.datasets import SliceDataset
from monai_ddfm.training.evaluation import PriorEvaluation
from monai_ddfm.training.samples import draw_samples, picture_grid


def test_head_masks_cover_the_head_and_its_dark_parts() -> None:
    size = 96
    clean = images(3, size)[:, 0].numpy()
    masks = head_masks(clean)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for image, mask in zip(clean, masks, strict=True):
        assert mask[np.hypot(x, y) < 0.5].all()
        assert not mask[:3].any()
        assert mask[image > 0].mean() > 0.98
        assert (image[~mask] == -1).mean() > 0.98
    assert head_masks(np.full((1, 16, 16), -1, np.float32)).all()


def test_psnr_counts_the_inside_alone_and_clips() -> None:
    clean = np.zeros((2, 8, 8), np.float32)
    masks = np.zeros((2, 8, 8), bool)
    masks[:, 2:4] = True
    estimates = clean + 0.1
    estimates[:, 6] = 9
    assert psnr_inside(estimates, clean, masks) == pytest.approx([10 * math.log10(400)] * 2)
    estimates[1, 2:4] = 7
    assert psnr_inside(estimates, clean, masks)[1] == pytest.approx(10 * math.log10(4))


def test_baselines_denoise_and_their_tuning_helps() -> None:
    pytest.importorskip("skimage")
    clean = images(2, 64)[:, 0].numpy()
    masks = head_masks(clean)
    rng = np.random.default_rng(0)
    noisy = clean + 0.2 * rng.standard_normal(clean.shape).astype(np.float32)
    scores = {}
    for name, baseline in baselines().items():
        best = tuned(baseline, noisy, clean, masks, sigma=0.2)
        by_strength = [
            psnr_inside(baseline.denoise(noisy, 0.2, strength), clean, masks).mean()
            for strength in baseline.strengths
        ]
        scores[name] = psnr_inside(baseline.denoise(noisy, 0.2, best), clean, masks).mean()
        assert scores[name] == max(by_strength)
    assert scores["gaussian"] > scores["identity"] + 2
    assert scores["non_local_means"] > scores["identity"] + 2


def test_samples_are_deterministic_and_differ_by_seed() -> None:
    network = tiny_network()
    betas = SCHEDULER.betas.tolist()
    first, again, other = (
        draw_samples(network, betas, count=2, size=16, steps=4, seed=seed) for seed in (0, 0, 1)
    )
    assert first.shape == (2, 1, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.abs().max()) <= 1
    with pytest.raises(InputError, match="visited"):
        draw_samples(network, betas, steps=2000)


def test_samples_of_a_prior_that_knows_one_image_are_that_image() -> None:
    clean = images(1)
    oracle = Oracle(clean, "v_prediction")
    found = draw_samples(oracle, SCHEDULER.betas.tolist(), count=2, size=32, steps=5)  # type: ignore[arg-type]
    assert torch.allclose(found, clean.expand(2, -1, -1, -1), atol=1e-3)


def test_grid_places_pictures_in_rows() -> None:
    levels = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]).reshape(5, 1, 1, 1)
    grid = picture_grid(levels.expand(5, 1, 4, 6), columns=3, gap=1)
    assert grid.shape == (9, 20)
    assert [int(grid[0, left]) for left in (0, 7, 14)] == [0, 64, 128]
    assert [int(grid[5, left]) for left in (0, 7)] == [191, 255]
    assert picture_grid(levels.expand(5, 1, 4, 4)).shape == (10, 16)


@pytest.fixture
def held_out(tmp_path: Path) -> SliceDataset:
    return SliceDataset([{"folder": save_heads(tmp_path / "heads", count=4, size=32)}], canvas=32)


def evaluation(dataset: SliceDataset, output: Path, **options: object) -> PriorEvaluation:
    chosen = {"sigmas": (0.1, 0.5), "timesteps": (50, 500), "count": 4, "seed": 3} | options
    return PriorEvaluation(
        tiny_network(),
        dataset,
        SCHEDULER,
        output_dir=output,
        samples=4,
        sample_size=16,
        sample_steps=3,
        prior="tiny.pt",
        **chosen,  # type: ignore[arg-type]
    )


def test_evaluation_prints_one_table_and_writes_it(
    held_out: SliceDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    report = evaluation(held_out, tmp_path / "out").run()
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "prior_evaluation.txt").read_text()
    assert "research use only - not for diagnosis" in printed
    assert "seed 3" in printed
    content = json.loads((tmp_path / "out" / "prior_evaluation.json").read_text())
    with (tmp_path / "out" / "prior_evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sigma"]) for row in rows] == [0.1, 0.5]
    for row, entry, line in zip(rows, content["denoising"], report.denoising, strict=True):
        # The identity's error is the noise, but for what clipping takes off.
        assert float(row["identity"]) >= 20 * math.log10(2 / line.sigma) - 0.5
        assert float(row["prior"]) == pytest.approx(entry["psnr"]["prior"], abs=1e-3)
        best = max(line.psnr[name] for name in ("identity", "gaussian", "non_local_means"))
        assert entry["gain"] == pytest.approx(line.psnr["prior"] - best)
    assert content["loss"].keys() == {"50", "500"}
    with Image.open(tmp_path / "out" / "samples.png") as picture:
        assert picture.size == (34, 34)


def test_evaluation_is_repeatable(held_out: SliceDataset, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    first = evaluation(held_out, tmp_path, sigmas=(0.2,), timesteps=(9,)).run()
    again = evaluation(held_out, tmp_path, sigmas=(0.2,), timesteps=(9,)).run()
    other = evaluation(held_out, tmp_path, sigmas=(0.2,), timesteps=(9,), seed=4).run()
    assert first == again
    assert first.denoising != other.denoising


def test_evaluation_refuses_what_it_cannot_judge(held_out: SliceDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sigmas"):
        evaluation(held_out, tmp_path, sigmas=(0.1, -1))
    color = ADMUNet(**{**NETWORK, "in_channels": 3, "out_channels": 3})
    with pytest.raises(InputError, match="3 channels"):
        PriorEvaluation(color, held_out, SCHEDULER, output_dir=tmp_path)
