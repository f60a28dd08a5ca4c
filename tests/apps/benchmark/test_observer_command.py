"""``monai-ddfm benchmark --lesions``: one run on small pictures, and mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_makers import heads
from PIL import Image
from run_cases import command, one_sentence

pytestmark = pytest.mark.usefixtures("one_thread_throughout")


def save_pairs(base: Path, *, size: tuple[int, int] = (100, 96)) -> Path:
    for modality in ("PET", "CT"):
        case = heads("a", modality, size=size)
        for role, image in (("MRI", case.fixed), (modality, case.moving)):
            path = base / f"MRI-{modality}" / role / "a.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0].numpy() * 255).astype(np.uint8)).save(path)
    return base


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pairs(tmp_path_factory.mktemp("pairs"))


def test_the_command_prints_what_it_writes_and_repeats_it(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out_dir = tmp_path / "out"
    arguments = ["benchmark", pictures, "--lesions", "--methods", "average,overlay:alpha=0.5,both"]
    arguments += ["--lesion-count", 25, "--lesion-sizes", "9", "--lesion-contrasts", "0.3"]
    arguments += ["--lesion-lines", "vessel", "--internal-noise", 0.04, "-o", out_dir]
    status, out, _ = command(capfd, *arguments)
    assert status == 0
    assert out.startswith((out_dir / "lesions.txt").read_text(encoding="utf-8"))
    assert "PET, color: efficiency of finding a lesion 9 mm, contrast 0.3; 25 places" in out
    assert "CT, gray: efficiency of finding a vessel 2 mm, contrast 0.3" in out
    document = json.loads((out_dir / "lesions.json").read_text(encoding="utf-8"))
    assert document["notice"] == "research use only - not for diagnosis"
    assert document["internal_noise"] == 0.04
    assert len(list(out_dir.glob("lesions-*.png"))) == 2
    again = command(capfd, *arguments)
    assert again[:2] == (0, out)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--lesion-contrasts", "0"], "lesion contrast of 0 is unusable"),
        (["--lesion-contrasts", "0.2,x"], "lesion contrasts '0.2,x' are unusable"),
        (["--lesion-sizes", "900"], "lesion of 900 mm is unusable"),
        (["--lesion-lines", "star"], "shape 'star' is unknown"),
        (["--lesion-count", "3"], "3 lesions are too few"),
        (["--lesion-count", "1000000"], "places for"),
        (["--internal-noise", "0"], "internal noise of 0 is unusable"),
        (["--lesion-slices", "0"], "0 slices of a volume are unusable"),
        (["--methods", "overlay:alpha=3"], "alpha=3 of an overlay"),
        (["--noise", "salt"], "noise 'salt' is unknown"),
        (["--stretch", "both"], "--stretch has no meaning with --lesions"),
        (["--metrics", "EN"], "--metrics has no meaning with --lesions"),
    ],
)
def test_mistakes_end_in_one_sentence(
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    given: list[str],
    words: str,
) -> None:
    out_dir = tmp_path / "out"
    status, out, err = command(capfd, "benchmark", pictures, "--lesions", "-o", out_dir, *given)
    assert status == 2
    assert words in one_sentence(err)
    assert out == ""
    assert not out_dir.exists()


def test_options_of_lesions_need_the_word(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark", pictures, "--lesion-count", 50, "-o", tmp_path / "out"]
    status, _, err = command(capfd, *arguments)
    assert status == 2
    assert "without --lesions" in one_sentence(err)


def test_pictures_without_a_head_or_too_small(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = save_pairs(tmp_path / "small", size=(30, 30))
    status, _, err = command(capfd, "benchmark", base, "--lesions", "-o", tmp_path / "out")
    assert status == 2
    assert "CT a: " in one_sentence(err)
    dark = tmp_path / "dark" / "MRI-CT"
    for role in ("MRI", "CT"):
        (dark / role).mkdir(parents=True)
        level = np.arange(100 * 100).reshape(100, 100) % 15
        Image.fromarray(level.astype(np.uint8)).save(dark / role / "a.png")
    status, _, err = command(capfd, "benchmark", dark, "--lesions", "-o", tmp_path / "out")
    assert status == 2
    assert "CT a: there is no head in the image" in one_sentence(err)
