"""Mutants of every kind of file: a result or one sentence, in bounds of memory and time."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from forked_runs import LoadedProcess, Run
from fuzz import main
from mutants import mutant
from seeds import is_sound

MUTANTS = int(os.environ.get("ATTACK_MUTANTS", "1500"))


def fuzz(loaded: LoadedProcess, folder: Path, *options: str) -> dict:
    run = Run(read_mutants, (folder, *options), folder)
    (ended,) = loaded.run([run], said=folder, seconds=5400)
    assert ended.status == 0, (ended.stdout + ended.stderr)[-3000:]
    return json.loads((folder / "endings.json").read_text())


def read_mutants(*arguments: object) -> None:
    """Be ``python fuzz.py ARGUMENTS``."""
    sys.exit(main([*map(str, arguments)]))


@pytest.fixture(scope="module")
def few(loaded: LoadedProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of some mutants that have been read, with the sound files they were made from."""
    folder = tmp_path_factory.mktemp("few")
    fuzz(loaded, folder, "--quick", "--count", "90", "--seed", "77")
    return folder


def test_a_few_mutants(few: Path) -> None:
    found = json.loads((few / "endings.json").read_text())["summary"]
    assert found["mutants"] == 90
    assert set(found["endings"]) <= {"result", "sentence"}
    assert found["endings"]["sentence"] > 20


@pytest.mark.slow
def test_mutants(loaded: LoadedProcess, tmp_path: Path) -> None:
    found = fuzz(loaded, tmp_path, "--count", str(MUTANTS), "--seed", "1")["summary"]
    print(json.dumps(found))
    assert found["mutants"] >= MUTANTS
    assert set(found["endings"]) <= {"result", "sentence"}
    assert found["longest_s"] < 60
    assert found["most_mebibytes"] < 2048


def test_seeds_are_sound_and_mutants_repeat(few: Path) -> None:
    paths = sorted((few / "seeds").iterdir())
    assert len(paths) > 35
    assert all(is_sound(path) for path in paths if path.suffix == ".dcm")
    content = paths[0].read_bytes()
    assert mutant(content, 5) == mutant(content, 5)
    assert len({mutant(content, seed) for seed in range(50)}) > 40
