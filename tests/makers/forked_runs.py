"""Runs of a module as a program, each in a process of its own, without loading it each time.

``python forked_runs.py RUNS.json`` loads the module and forks a process for every run: in its
folder, with its arguments, and with files for what it says.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn


class Ended(NamedTuple):
    """How a run has ended."""

    folder: Path
    stdout: str
    stderr: str
    status: int


def forked_runs(
    module: str, runs: Mapping[Path, Sequence[str]], *, base: Path, env: Mapping[str, str]
) -> dict[Path, Ended]:
    """Run ``python -m module`` in every folder with these arguments, one beside the other.

    Args:
        module: to run.
        runs: arguments by folder.
        base: a folder for what is said.
        env: of the processes.
    """
    listed = [[str(folder), *arguments] for folder, arguments in runs.items()]
    (base / "runs.json").write_text(json.dumps(listed), encoding="utf-8")
    call = [sys.executable, __file__, module, str(base / "runs.json")]
    done = subprocess.run(call, env=env, capture_output=True, text=True, timeout=600, check=True)
    found = {}
    for number, (folder, status) in enumerate(zip(runs, json.loads(done.stdout), strict=True)):
        said = ((base / f"{number}.{name}").read_text(encoding="utf-8") for name in ("out", "err"))
        found[folder] = Ended(folder, *said, status)
    return found


def _become(module: str, folder: str, arguments: list[str], said: list[Path]) -> NoReturn:
    """Be the program, to its end."""
    for stream, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


def main(module: str, listed: str) -> None:
    """Run all, and print their statuses."""
    importlib.import_module(module)
    base = Path(listed).parent
    children = []
    for number, (folder, *arguments) in enumerate(json.loads(Path(listed).read_text("utf-8"))):
        child = os.fork()
        if not child:
            said = [base / f"{number}.{name}" for name in ("out", "err")]
            _become(module, folder, arguments, said)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main(*sys.argv[1:])
