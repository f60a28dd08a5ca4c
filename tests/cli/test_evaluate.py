"""Figures of a fusion that exists: pictures, volumes, and what ``fuse`` has written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from run_cases import command, demo_subject, one_sentence

from monai_ddfm.apps.benchmark import evaluate
from monai_ddfm.apps.demo.pictures import make_picture_pair
from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.baselines import fuse_baseline
from monai_ddfm.metrics import PUBLISHED_METRICS, evaluate_fusion, flicker
from monai_ddfm.workflow import fuse


@pytest.fixture(scope="module")
def triple(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A gray pair and its maximum."""
    folder = tmp_path_factory.mktemp("triple")
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 44), np.uint8)
    named = {"fixed": images[0], "moving": images[1], "fused": images.max(0)}
    for name, image in named.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in named}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``fuse`` has written for a PET; registration is left out."""
    subject = demo_subject(tmp_path_factory.getbasetemp(), "PET", dicom=True)
    folder = tmp_path_factory.mktemp("run")
    fuse(
        subject.fixed,
        subject.moving,
        modality="PET",
        output_dir=folder,
        steps=1,
        registration="none",
        window="0..90%",
        noise_margin=0,
    )
    return folder


@pytest.mark.parametrize("convention", ["evaluator", "mean"])
def test_pictures_against_the_metrics(triple: dict[str, Path], convention: Any) -> None:
    found = evaluate(
        triple["fused"],
        fixed=triple["fixed"],
        moving=triple["moving"],
        metrics=["SD", "Qabf", "MI"],
        convention=convention,
    )
    levels = {name: np.asarray(Image.open(path)) / 255 for name, path in triple.items()}
    sources = torch.from_numpy(np.stack([levels["fixed"], levels["moving"]]))[None]
    fused = torch.from_numpy(levels["fused"])[None, None]
    wanted = evaluate_fusion(fused, sources, metrics=["SD", "Qabf", "MI"], convention=convention)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(
            float(value), rel=1e-5 if convention == "evaluator" else 5e-3
        )
    assert found["excess"] == pytest.approx(0, abs=1e-6)
    assert found.keys() == {"SD", "Qabf", "MI", "excess"}


def test_colors_are_compared_with_the_colored_source(tmp_path: Path) -> None:
    pair = make_picture_pair(tmp_path, width=64, height=48)
    same = evaluate(pair.visible, fixed=pair.visible, moving=pair.infrared, metrics=["EN"])
    assert same["hue"] == pytest.approx(0, abs=1e-6)
    swapped = np.asarray(Image.open(pair.visible))[..., ::-1]
    Image.fromarray(np.ascontiguousarray(swapped)).save(tmp_path / "swapped.png")
    other = evaluate(
        tmp_path / "swapped.png", fixed=pair.visible, moving=pair.infrared, metrics=["EN"]
    )
    assert other["hue"] > 40
    gray = evaluate(pair.infrared, fixed=pair.visible, moving=pair.infrared, metrics=["EN"])
    assert "hue" not in gray


def test_stretching_scales_the_contrast_of_a_weak_picture(
    triple: dict[str, Path], tmp_path: Path
) -> None:
    weak = (np.asarray(Image.open(triple["fused"])) // 4 + 60).astype(np.uint8)
    Image.fromarray(weak).save(tmp_path / "weak.png")
    options: dict[str, Any] = {"fixed": triple["fixed"], "moving": triple["moving"]}
    plain = evaluate(tmp_path / "weak.png", metrics=["SD"], **options)
    stretched = evaluate(tmp_path / "weak.png", metrics=["SD"], stretch=True, **options)
    gain = 255 / (int(weak.max()) - int(weak.min()))
    assert stretched["SD"] == pytest.approx(plain["SD"] * gain, rel=0.01)


def test_a_run_knows_its_sources_and_its_window(run: Path) -> None:
    """The excess is none only if the sources are on the gray levels that were fused."""
    found = evaluate(run, metrics=["SD", "SF"])
    gray = evaluate(
        run / "fused.nii.gz",
        fixed=json.loads((run / "provenance.json").read_text())["inputs"]["fixed"]["path"],
        moving=run / "moving_registered.nii.gz",
        modality="PET",
        window="0..90%",
        metrics=["SD", "SF"],
    )
    assert gray["excess"] < 2e-3
    assert found["SD"] == pytest.approx(gray["SD"], rel=0.01)
    assert found["SF"] == pytest.approx(gray["SF"], rel=0.05)
    other = evaluate(
        run / "fused.nii.gz",
        fixed=json.loads((run / "provenance.json").read_text())["inputs"]["fixed"]["path"],
        moving=run / "moving_registered.nii.gz",
        modality="PET",
        window="0..60%",
        metrics=["SD"],
    )
    assert other["excess"] > 0.01


def test_volumes_against_the_metrics(tmp_path: Path) -> None:
    """An MRI and an SPECT whose gray levels are known: both run from black to white already."""
    generator = np.random.default_rng(2)
    data = generator.random((44, 46, 4)).astype(np.float32)
    moving = np.where(data > 0.5, generator.random(data.shape), 0).astype(np.float32)
    moving /= moving.max()
    fused = moving * 0.25
    for name, volume in (("mri", data), ("spect", moving), ("fused", fused)):
        nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2, 3, 1])), tmp_path / f"{name}.nii.gz")
    found = evaluate(
        tmp_path / "fused.nii.gz",
        fixed=tmp_path / "mri.nii.gz",
        moving=tmp_path / "spect.nii.gz",
        modality="SPECT",
        metrics=["SD", "EN"],
    )
    wanted = evaluate_fusion(
        torch.from_numpy(fused)[None, None],
        torch.from_numpy(np.stack([data, moving]))[None],
        metrics=["SD", "EN"],
    )
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4)
    maximum = fuse_baseline(torch.from_numpy(np.stack([data, moving]))[None], method="max")
    nib.save(
        nib.Nifti1Image(maximum[0, 0].numpy(), np.diag([2.0, 2, 3, 1])), tmp_path / "max.nii.gz"
    )
    options: dict[str, Any] = {
        "fixed": tmp_path / "mri.nii.gz",
        "moving": tmp_path / "spect.nii.gz",
    }
    jumping = evaluate(tmp_path / "max.nii.gz", modality="SPECT", metrics=["SD"], **options)
    assert jumping["flicker"] < found["flicker"] + 1
    assert float(flicker(maximum, torch.from_numpy(np.stack([data, moving]))[None])) < 1e-4


def other_grid(folder: Path, run: Path) -> list[Any]:
    image = nib.load(run / "fused.nii.gz")
    affine = image.affine.copy()
    affine[0, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), folder / "moved.nii.gz")
    moving = run / "moving_registered.nii.gz"
    return [
        folder / "moved.nii.gz",
        "--fixed",
        run / "weight.nii.gz",
        "--moving",
        moving,
        "--modality",
        "PET",
    ]


def test_mistakes_end_in_one_sentence(
    triple: dict[str, Path], run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(small)
    sources = ["--fixed", triple["fixed"], "--moving", triple["moving"]]
    volume = run / "fused.nii.gz"
    cases: list[tuple[list[Any], str]] = [
        ([triple["fused"]], "give --fixed and --moving"),
        ([small, *sources], "10 x 10 pixels"),
        ([volume, *sources], "pictures all or volumes all"),
        ([triple["fused"], *sources, "--metrics", "PI"], "metric 'PI' is unknown"),
        ([triple["fused"], *sources, "--convention", "my"], "'my' is unknown"),
        ([volume, "--fixed", volume, "--moving", volume], "give --modality"),
        ([tmp_path / "no.png", *sources], "is not a file"),
        (other_grid(tmp_path, run), "is not on the grid of"),
    ]
    for given, words in cases:
        status, out, err = command(capfd, "evaluate", *given)
        assert status == 2, words
        assert words in one_sentence(err)
        assert out == ""


def test_the_command_prints_and_writes_the_figures(
    triple: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = ["--fixed", triple["fixed"], "--moving", triple["moving"]]
    file = tmp_path / "figures.json"
    status, out, _ = command(capfd, "evaluate", triple["fused"], *sources, "--json", file)
    assert status == 0
    written = json.loads(file.read_text(encoding="utf-8"))
    assert list(written["figures"]) == [*PUBLISHED_METRICS, "excess"]
    printed = dict(line.split() for line in out.splitlines()[:-1])
    assert float(printed["MI"]) == pytest.approx(written["figures"]["MI"], rel=1e-4)
    assert "research use only" in out


def test_a_record_that_is_none_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "provenance.json").write_text("{}")
    with pytest.raises(InputError, match="is no record of a fusion"):
        evaluate(tmp_path / "copy")
