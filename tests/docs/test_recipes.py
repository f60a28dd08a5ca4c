"""The recipes of CONTRIBUTING.md, each followed to the letter in a copy of the package."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cohort_makers import save, volumes
from doc_pages import ROOT, blocks
from forked_runs import LoadedProcess, Run
from scipy import ndimage

PAGE = ROOT / "CONTRIBUTING.md"
PROGRAM = "monai-ddfm "
RECIPES = ("A modality", "A rectifier", "A figure of merit", "An output format")


def recipe(heading: str, folder: Path) -> Path:
    """Write one recipe to a file of its own."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^### {heading}\n(.*?)^##", text, re.M | re.S)
    assert found is not None, heading
    path = folder / f"{heading}.md"
    path.write_text(found[1], encoding="utf-8")
    return path


def hunks(diff: str) -> tuple[str, list[tuple[list[str], list[str]]]]:
    """The file of a block, and for each of its parts the lines before and after."""
    first, *lines = diff.splitlines()
    parts: list[tuple[list[str], list[str]]] = [([], [])]
    for line in lines:
        if line == "@@":
            parts.append(([], []))
            continue
        if line[:1] != "+":
            parts[-1][0].append(line[1:])
        if line[:1] != "-":
            parts[-1][1].append(line[1:])
    return first.removeprefix("+++ "), parts


def follow(diff: str, copy: Path) -> None:
    """Do what a block says; what it shows must be there, and at one place only."""
    name, parts = hunks(diff)
    path = copy / name
    if not any(before for before, _ in parts):
        assert not path.exists(), name
        path.write_text("\n".join(parts[0][1]) + "\n", encoding="utf-8")
        return
    if not path.exists():  # a page: only the package is copied
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path)
    text = f"\n{path.read_text(encoding='utf-8')}"
    for before, after in parts:
        shown, new = ("\n" + "\n".join(lines) + "\n" for lines in (before, after))
        assert text.count(shown) == 1, (name, shown)
        text = text.replace(shown, new)
    path.write_text(text[1:], encoding="utf-8")


def commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            if line.startswith(PROGRAM):
                yield shlex.split(line.removeprefix(PROGRAM))
            else:
                program, *words = shlex.split(line)
                assert [program, *words[:2]] == ["python", "-m", "pytest"]
                assert all((ROOT / word).exists() for word in words[2:]), line


def call_all(copy: Path, calls: list[list[str]]) -> None:
    """Call the program of a copy of the package with these words, one after the other."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "monai_ddfm"]:
        del sys.modules[name]
    sys.path.insert(0, str(copy))
    cli = importlib.import_module("monai_ddfm.cli")
    assert Path(cli.__file__ or "").is_relative_to(copy)
    for words in calls:
        sys.argv = [PROGRAM.strip(), *words]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, words


@pytest.fixture(scope="module")
def done(loaded: LoadedProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where all recipes have been followed and tried, one after the other."""
    folder = tmp_path_factory.mktemp("recipes")
    copy = folder / "copy"
    shutil.copytree(ROOT / "monai_ddfm", copy / "monai_ddfm")
    (copy / "bundles").symlink_to(ROOT / "bundles")
    calls = []
    for number, heading in enumerate(RECIPES):
        page = recipe(heading, folder)
        for diff in blocks(page, "diff"):
            follow(diff, copy)
        for words in commands(page):
            # Each into a folder of its own, and of the demo's results the page's own fusion.
            swapped = {"out": f"out {number}", "ddfm_demo": "out 1"}
            calls.append([swapped.get(word, word) for word in words])
    assert [words[0] for words in calls] == ["fuse", "fuse", "evaluate", "fuse"]
    calls[2] += ["--json", "figures.json"]
    for words in calls:
        if words[0] == "fuse":  # like any other, sooner; a forked process has no GPU
            words.extend(["--steps", "2", "--device", "cpu"])
    for name, volume in zip(("t1", "pet"), volumes(1), strict=True):
        save(folder / f"{name}.nii.gz", volume)
    (ended,) = loaded.run([Run(call_all, (copy, calls), folder)], said=folder)
    assert ended.status == 0, ended.stdout + ended.stderr
    return folder


def options_of(folder: Path) -> dict[str, object]:
    record = json.loads((folder / "provenance.json").read_text())
    noise = record["reports"].get("noise", {}).get("fused", {})
    assert record["bound"]["largest"] <= noise.get("margin", 0.0) + 1e-5
    options: dict[str, object] = record["options"]
    return options


def test_a_new_modality_is_read_and_colored_by_its_row(done: Path) -> None:
    assert options_of(done / "out 0")["modality"] == "PA"
    assert (done / "out 0" / "fused_rgb.nii.gz").exists()


def test_a_new_rectifier_takes_the_brighter_source(done: Path) -> None:
    assert options_of(done / "out 1")["preset"] == "brightest"
    other, ours = (
        nib.load(done / f"out {number}" / "fused.nii.gz").get_fdata() for number in (0, 1)
    )
    assert (ours > other + 0.05).mean() > 10 * (ours < other - 0.05).mean()


def test_a_new_figure_of_merit_is_that_of_scipy(done: Path) -> None:
    figures = json.loads((done / "figures.json").read_text())["figures"]
    assert figures.keys() >= {"EI", "AG"}
    fused = nib.load(done / "out 1" / "fused.nii.gz").get_fdata() * 255
    slopes = [ndimage.sobel(plane, axis, mode="nearest") for plane in fused.T for axis in (0, 1)]
    expected = np.hypot(slopes[::2], slopes[1::2]).mean()
    assert figures["EI"] == pytest.approx(expected, rel=1e-3)


def test_a_new_format_has_all_maps(done: Path) -> None:
    assert options_of(done / "out 3")["format"] == "npz"
    names = {path.name for path in (done / "out 3").iterdir()}
    assert names == {
        *("fusion.npz", "transform.tfm", "preview.png", "report.html", "provenance.json")
    }
    with np.load(done / "out 3" / "fusion.npz") as file:
        assert file.files[:2] == ["affine", "notice"]
        assert {"fused", "fused_rgb", "fixed", "moving_registered"} < set(file.files)
        assert np.allclose(file["affine"], nib.load(done / "t1.nii.gz").affine)
