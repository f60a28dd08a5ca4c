"""The scripts of docs/how-to/monai.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from doc_pages import DOCS, blocks
from nifti_makers import save
from run_cases import saved_prior

from monai_ddfm.metrics import METRICS

PAGE = DOCS / "how-to" / "monai.md"
SHAPE = (24, 20, 16)
AFFINE = np.array([[-6.0, 0.6, 0, 60], [0.6, 6.0, 0, -50], [0, 0, 8.0, -60], [0, 0, 0, 1]])


def head(seed: int, *, inside: tuple[float, float, float]) -> np.ndarray:
    """An egg with a nucleus off its middle; air, rind and nucleus are `inside`, with noise."""
    axes = [np.linspace(-1.2, 1.2, side) for side in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    air, rind, nucleus = inside
    values = np.where(x**2 + y**2 + z**2 < 1, rind, air)
    values[(x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.1) ** 2 < 0.15] = nucleus
    noise = np.random.default_rng(seed).normal(0, 2, SHAPE)
    return np.maximum(values + noise, 0).astype(np.float32)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Any:
    """Runs a script of the page by its heading, beside the files it names."""
    for number, name in enumerate("ab"):
        folder = tmp_path / name
        folder.mkdir()
        save(folder / "t1.nii.gz", head(number, inside=(0, 100, 60)), AFFINE)
        save(folder / "pet.nii.gz", head(number + 2, inside=(0, 30, 120)), AFFINE)
    saved_prior(tmp_path)
    monkeypatch.chdir(tmp_path)
    start, *scripts = blocks(PAGE, "python")
    headings = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.M)
    by_heading = dict(zip(headings, scripts, strict=True))

    def run(heading: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(start + "\n" + by_heading[heading], f"{PAGE}: {heading}", "exec"), names)
        return names

    return run


def test_a_compose_of_ones_own(script: Any) -> None:
    names = script("A Compose of your own")
    assert names["fused"].shape == names["weight"].shape == (1, 1, *SHAPE)
    image = names["case"]["image"]
    assert nib.aff2axcodes(names["fused"].affine.numpy()) == ("R", "A", "S")
    assert bool((names["fused"][0] <= image.amax(0, keepdim=True) + 1e-5).all())


def test_an_evaluator_with_workers(script: Any) -> None:
    results = script("An evaluator with workers")["results"]
    assert [result.shape for result in results] == [(2, *SHAPE)] * 2
    assert np.allclose(results[0].affine, AFFINE)
    assert not torch.equal(results[0], results[1])


def test_a_cache_for_many_fusions(script: Any) -> None:
    names = script("Prepare once, fuse many times")
    default, contrast = names["fused"]["default"], names["fused"]["contrast"]
    assert len(default) == len(contrast) == 2
    assert not torch.equal(default[0], contrast[0])


def test_a_rectifier_of_ones_own(script: Any) -> None:
    names = script("A rectifier of your own")
    pair, fused = names["pair"], names["fused"]
    assert bool((fused >= pair.amin(1, keepdim=True) - 1e-6).all())
    assert bool((fused <= pair.amax(1, keepdim=True) + 1e-6).all())
    assert bool((fused > pair.mean(1, keepdim=True)).float().mean() > 0.9)
    assert "preset='brightest'" in repr(names["inferer"])
    assert "Brightest(sharpness=20.0" in repr(names["inferer"])


def test_metrics_beside_those_of_monai(script: Any) -> None:
    names = script("Figures of merit")
    assert names["figures"].keys() == {"MI", "Qabf", "SSIM to fixed"}
    assert all(0 < value < 20 for value in names["figures"].values())
    for name, metric in names["of_sources"].items():
        assert name in METRICS
        torch.testing.assert_close(
            metric.get_buffer()[1:, 0], names["last"][name].float(), rtol=1e-6, atol=1e-6
        )


def test_back_to_the_grid_of_the_file(script: Any) -> None:
    names = script("Back to the scanner's grid")
    restored, case = names["restored"], names["case"]
    assert np.array_equal(restored.affine, nib.load("a/t1.nii.gz").affine)
    assert restored.shape == (2, *SHAPE)
    # The file runs from right to left: canonical axes have its first one turned round.
    again = names["DDFMInferer"]()(case["image"][None], names["network"])[0]
    assert torch.equal(restored.as_tensor(), again.as_tensor().flip(1))
