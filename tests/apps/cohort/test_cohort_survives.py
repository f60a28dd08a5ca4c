"""A cohort of forty whose command, scheduler and workers are killed, here and on a real SLURM."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cohort_makers import bids_cohort, bids_path, tiny
from cohort_processes import COUNT, WAIT_S, Run, contents, deaf, finished, until
from local_servers import free_port
from slurm_node import slurm_node

psutil = pytest.importorskip("psutil", reason="needs the extra cohort")
pytest.importorskip("distributed", reason="needs the extra cohort")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Subjects of which three are broken: cut off, without MRI, with two PETs."""
    root = bids_cohort(tmp_path_factory.mktemp("cohort") / "bids", COUNT)
    broken = bids_path(root, "03", "pet")
    plain = gzip.decompress(broken.read_bytes())
    broken.write_bytes(gzip.compress(plain[: len(plain) // 2]))
    bids_path(root, "05", "T1w").unlink()
    tiny(bids_path(root, "07", "pet", extra="run-2"))
    return root


@pytest.fixture(scope="module")
def undisturbed(source: Path, prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run = Run(source, out, prior, "--nprocs", "2")
    assert run.process.wait(WAIT_S) == 103, run.log.read_text(encoding="utf-8")
    print(run.events("end"))
    return out


def test_failures_are_explained_and_the_rest_is_right(undisturbed: Path) -> None:
    cohort = json.loads((undisturbed / "cohort.json").read_text(encoding="utf-8"))
    status = [case["status"] for case in cohort["cases"]]
    assert status.count("done") == COUNT - 3
    failed = {case["case"]: case["reason"] for case in cohort["cases"] if case["reason"]}
    assert failed.keys() == {"sub-03_pet"}
    assert "the PET" in failed["sub-03_pet"]
    problems = {one["who"]: one["sentence"] for one in cohort["problems"]}
    assert problems.keys() == {"sub-05", "sub-07"}
    assert "no MRI" in problems["sub-05"]
    assert "2 PET" in problems["sub-07"]


@contextmanager
def own_scheduler(folder: Path) -> Iterator[tuple[str, Any]]:
    """A scheduler and two workers as a user starts them; gives the address and the process."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    host = ["--host", "127.0.0.1"]
    calls = [[*dask, "scheduler", *host, "--port", str(port), "--no-dashboard"]]
    worker = [*dask, "worker", address, *host, "--nthreads", "1", "--resources", "fusion=1"]
    calls += [[*worker, "--no-dashboard", "--death-timeout", "60"]] * 2
    started = []
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / "dask.log").open("wb") as log:
        for call in calls:
            started.append(subprocess.Popen(call, stdout=log, stderr=log, cwd=folder, env=env))
    try:
        yield address, started[0]
    finally:
        for process in started:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def test_killed_five_times_and_the_same_bytes(
    source: Path, prior: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    chance = random.Random(8)
    seen: dict[str, str] = {}

    def note() -> None:
        """What was finished before must be what it was."""
        now = finished(out)
        assert {key: now.get(key) for key in seen} == seen
        seen.update(now)

    def some() -> int:
        return chance.randint(1, max(1, COUNT // 10))

    # A worker, then the command.
    run = Run(source, out, prior, "--nprocs", "2")
    run.until_done(some())
    chance.choice(run.workers()).kill()
    until(lambda: run.events("lost") or run.process.poll() is not None)
    run.until_done(len(run.events("done")) + some())
    run.kill()
    note()
    # The scheduler.
    with own_scheduler(tmp_path) as (address, scheduler):
        run = Run(source, out, prior, "--scheduler", address)
        run.until_done(some())
        scheduler.kill()
        assert run.process.wait(WAIT_S) == 3, run.log.read_text(encoding="utf-8")
        assert "run the same command again" in run.log.read_text(encoding="utf-8")
    note()
    # Both workers at once, and the command again.
    run = Run(source, out, prior, "--nprocs", "2")
    run.until_done(some())
    for worker in run.workers():
        worker.kill()
    run.until_done(len(run.events("done")) + some())
    run.kill()
    note()
    # To the end.
    run = Run(source, out, prior, "--nprocs", "2")
    assert run.process.wait(WAIT_S) == 103, run.log.read_text(encoding="utf-8")
    note()
    assert len(seen) == COUNT - 3
    assert contents(out) == contents(undisturbed)
    assert not list((tmp_path / "out_work" / "cases").iterdir())
    # Once more: nothing is left but the one that is broken.
    run = Run(source, out, prior, "--nprocs", "1")
    assert run.process.wait(WAIT_S) == 103
    assert [event["case"] for event in run.events("started")] == ["sub-03_pet"]
    note()


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    source: Path, prior: Path, tmp_path: Path
) -> None:
    """A terminal interrupts the command and its workers alike."""
    out = tmp_path / "out"
    wanted = [word for name in ("01", "02", "04") for word in ("--participant-label", name)]
    run = Run(source, out, prior, "--nprocs", "1", *wanted)
    run.until_done(1)
    children = psutil.Process(run.process.pid).children(recursive=True)
    assert run.workers()
    assert all(deaf(worker) for worker in run.workers())
    begin = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(WAIT_S) == 130
    print(f"ended {time.monotonic() - begin:.1f} s after Ctrl-C")
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    said = run.log.read_text(encoding="utf-8").splitlines()
    assert [line for line in said if not line.startswith("{")] == [
        "error: stopped by the user; what is finished stays: run the same command again."
    ]
    before = finished(out)
    begun, told = ({event["case"] for event in run.events(name)} for name in ("started", "done"))
    # A worker may still finish the subject that it is at while the command ends.
    assert told <= before.keys() <= begun
    assert len(before.keys() - told) <= 1
    assert all(f'"{key}"' in (out / "group.html").read_text(encoding="utf-8") for key in before)
    again = Run(source, out, prior, "--nprocs", "1", *wanted)
    assert again.process.wait(WAIT_S) == 0, again.log.read_text(encoding="utf-8")
    started = {event["case"] for event in again.events("started")}
    assert started == {"sub-01_pet", "sub-02_pet", "sub-04_pet"} - before.keys()
    after = finished(out)
    assert {key: after[key] for key in before} == before


def test_a_worker_may_take_its_time_to_come_back(source: Path, prior: Path, tmp_path: Path) -> None:
    wanted = [word for name in ("01", "02") for word in ("--participant-label", name)]
    run = Run(source, tmp_path / "out", prior, "--nprocs", "1", *wanted)
    until(lambda: run.events("started"))
    (first,) = run.workers()
    first.kill()
    until(lambda: [worker for worker in run.workers() if worker.pid != first.pid])
    (second,) = run.workers()
    second.suspend()  # as if its imports took that long
    time.sleep(25)
    second.resume()
    assert run.process.wait(WAIT_S) == 0, run.log.read_text(encoding="utf-8")
    assert run.events("lost")


def documented_profile() -> str:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "cohort.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    return next(block for block in blocks if "scheduler: slurm" in block)


def test_on_a_slurm_of_one_node(
    source: Path, prior: Path, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The documented profile, with the partition, interface and memory of this machine."""
    folder = tmp_path_factory.mktemp("slurm")
    text = documented_profile()
    changes = {
        "queue: .*": "queue: all",
        "memory: .*": "memory: 1500MB",
        "interface: .*": "interface: lo",
    }
    changes |= {"workers: .*": "workers: 2", "cores: .*": "cores: 1"}
    for entry, here in changes.items():
        text, count = re.subn(entry, here, text)
        assert count == 1, entry
    profile = folder / "slurm.yaml"
    profile.write_text(text, encoding="utf-8")
    out = folder / "out"
    with slurm_node(folder) as env:
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        run = Run(source, out, prior, "--profile", str(profile), env=env)
        run.until_done(1)
        jobs = subprocess.run(["squeue", "-h"], check=True, env=env, capture_output=True)
        assert len(jobs.stdout.splitlines()) >= 1
        assert run.process.wait(WAIT_S) == 103, run.log.read_text(encoding="utf-8")
        assert "through slurm" in run.events("begin")[0]["where"]
        print(run.events("end"))
    assert contents(out) == contents(undisturbed)
