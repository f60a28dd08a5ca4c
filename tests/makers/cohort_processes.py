"""Runs of a cohort in processes that can be killed, and what they have finished."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from run_cases import heeding_ctrl_c

psutil = pytest.importorskip("psutil", reason="needs the extra cohort")

COUNT = int(os.environ.get("COHORT_COUNT", "40"))
WAIT_S = 3600
# What holds times or how long something took, and the marks of the records.
TIMED = re.compile(r"_desc-(provenance|report|log)_|^\.monai-ddfm/|^logs/")


class Run:
    """A run of the command in a process and a session of its own, as from a terminal."""

    def __init__(
        self, source: Path, out: Path, prior: Path, *more: str, env: dict[str, str] | None = None
    ) -> None:
        call = [sys.executable, "-m", "monai_ddfm", "cohort", source, out, "participant"]
        call += ["--steps", 2, "--registration", "none", "--device", "cpu", "--prior", prior]
        call += ["--progress", "json", *more]
        self.log = out.with_name(f"run-{time.time_ns()}.jsonl")
        with self.log.open("wb") as log, heeding_ctrl_c():
            self.process = subprocess.Popen(
                [str(word) for word in call],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=(env or dict(os.environ)) | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            if line.startswith("{") and line.endswith("}"):
                event = json.loads(line)
                found += [event] * (event["event"] == name)
        return found

    def until_done(self, count: int) -> None:
        until(lambda: len(self.events("done")) >= count or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")

    def workers(self) -> list[Any]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # or a zombie
                found += [child] * ("spawn_main" in " ".join(child.cmdline()))
        return found

    def kill(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs(children, timeout=120)
        assert not alive, "workers outlive their command"


def deaf(process: Any) -> bool:
    """Whether a process cannot receive Ctrl-C."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (blocked,) = re.findall(r"SigBlk:\s*([0-9a-f]+)", status)
    return bool(int(blocked, 16) >> (signal.SIGINT - 1) & 1)


def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.5)


def finished(out: Path) -> dict[str, str]:
    """The provenance, which holds times, of every case that has its record."""
    found = {}
    for path in (out / ".monai-ddfm").glob("sub-*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] == "done":
            name = next(name for name in record["outputs"] if "desc-provenance" in name)
            found[record["key"]] = hashlib.sha256((out / name).read_bytes()).hexdigest()
    return found


def contents(out: Path) -> dict[str, str]:
    names = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not TIMED.search(name)
    }
