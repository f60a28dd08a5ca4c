"""MONAI's own command runs the bundle from any folder, and refuses mistakes in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bundle_parts import BUNDLE, INFERENCE
from forked_runs import LoadedProcess, Run, module
from run_cases import NOTICE

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.data.writers.outputs import MARKER, ON_REQUEST_NAMES, OUTPUT_NAMES
from monai_ddfm.errors import InputError
from monai_ddfm.workflow import check_command_line

TRAP = '$__import__("os").system("touch trap")'
REFUSED = {
    "code": (["--fixed", TRAP], "begins with '$'"),
    "missing file": (["--fixed", "absent.nii.gz"], "absent.nii.gz does not exist"),
    "reference": (["--fixed=@moving"], "begins with '@'"),
    "unknown option": (["--fixed", "t1.nii.gz", "--nonsense", "3"], "option 'nonsense' is unknown"),
}
QUICK = ("code", "missing file")


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def words(folder: Path, pet: DemoSubject, *arguments: str) -> list[str]:
    """The words of MONAI's command for a new folder, with paths relative to that."""
    folder.mkdir()
    given = ["run", "--config_file", str(INFERENCE)]
    given += ["--bundle_root", str(BUNDLE), "--moving", os.path.relpath(pet.moving, folder)]
    given += ["--modality", "PET", "--output_dir", "out", "--registration", "none"]
    return [*given, "--steps", "1", "--device", "cpu", *arguments]


@pytest.fixture(scope="module")
def runs(
    pet: DemoSubject, loaded: LoadedProcess, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Any]:
    """MONAI's command as it should be called and with two mistakes, side by side."""
    base = tmp_path_factory.mktemp("runs")
    told = {name: REFUSED[name][0] for name in QUICK}
    fixed = os.path.relpath(pet.fixed, base / "right")
    told["right"] = ["--fixed", fixed, "--preset", "reference", "--amp", "true"]
    calls = [
        Run(module, ("monai.bundle", *words(base / name, pet, *more)), base / name)
        for name, more in told.items()
    ]
    ended = loaded.run(calls, said=tmp_path_factory.mktemp("said"))
    return {run.folder.name: run for run in ended}


def test_the_command_of_monai_fuses_from_another_folder(runs: Mapping[str, Any]) -> None:
    folder, _, stderr, status = runs["right"]
    assert status == 0, stderr
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert {path.name for path in (folder / "out").iterdir()} == {*OUTPUT_NAMES, MARKER} - {
        *ON_REQUEST_NAMES
    }
    record = json.loads((folder / "out" / MARKER).read_text())
    assert record["notice"] == NOTICE
    assert record["options"]["preset"] == "reference"
    assert record["options"]["steps"] == 1
    assert Path(record["prior"]["path"]) == BUNDLE / "models" / "model.pt"


def check_refusal(name: str, folder: Path, stdout: str, stderr: str, status: int) -> None:
    # MONAI warns of every configuration that it reads.
    own = [line for line in stderr.splitlines() if not line.startswith("parsing config_file")]
    assert status == 1
    assert len(own) == 1, own
    assert own[0].startswith("error: ")
    assert own[0].endswith(".")
    assert REFUSED[name][1] in own[0]
    assert "Traceback" not in stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", QUICK)
def test_the_command_of_monai_refuses_in_one_sentence(name: str, runs: Mapping[str, Any]) -> None:
    check_refusal(name, *runs[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REFUSED if name not in QUICK])
def test_the_command_of_monai_refuses_further_mistakes(
    name: str, pet: DemoSubject, tmp_path: Path
) -> None:
    call = [sys.executable, "-m", "monai.bundle"]
    done = subprocess.run(
        [*call, *words(tmp_path / "run", pet, *REFUSED[name][0])],
        cwd=tmp_path / "run",
        env=ENVIRONMENT,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    check_refusal(name, tmp_path / "run", done.stdout, done.stderr, done.returncode)


@pytest.mark.parametrize("given", [{"fixed": TRAP}, {"window": [TRAP]}, {"nonsense": 1}])
def test_files_of_arguments_are_checked_too(given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps({"config_file": str(INFERENCE), "modality": "CT"} | given))
    with pytest.raises(InputError, match=next(iter(given))):
        check_command_line(["run", "--args_file", str(file)])
    file.write_text(json.dumps({"config_file": str(INFERENCE), "modality": "CT"}))
    check_command_line(["run", "--args_file", str(file), "--steps", "3"])
