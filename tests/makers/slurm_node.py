"""A SLURM of one node, this machine; needs root and Debian's slurm-wlm and munge."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from local_servers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue", "scancel")


def configuration(folder: Path) -> str:
    name = platform.node().partition(".")[0]
    return "\n".join(
        [
            "ClusterName=test",
            f"SlurmctldHost={name}(127.0.0.1)",
            f"SlurmctldPort={free_port()}",
            f"SlurmdPort={free_port()}",
            "SlurmUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={folder}/munge.socket",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/spool",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
            f"SlurmdPidFile={folder}/slurmd.pid",
            f"SlurmctldLogFile={folder}/slurmctld.log",
            f"SlurmdLogFile={folder}/slurmd.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "SchedulerParameters=batch_sched_delay=0,sched_interval=2",
            "ReturnToService=2",
            "MpiDefault=none",
            f"NodeName={name} NodeAddr=127.0.0.1 CPUs={max(2, os.cpu_count() or 2)} "
            "RealMemory=4000 State=UNKNOWN",
            "PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE OverSubscribe=FORCE",
            "",
        ]
    )


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run SLURM in `folder`; gives the environment in which its commands find it."""
    if os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)):
        pytest.skip("needs root, slurm-wlm and munge")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(configuration(folder))
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket",)]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    started = [
        subprocess.Popen([*command], env=env, stdout=log, stderr=log)
        for log in [(folder / "out.log").open("wb")]
        for command in (["munged", "--foreground", "--force", *munge],)
    ]
    try:
        _until((folder / "munge.socket").exists, 60)
        for program in ("slurmctld", "slurmd"):
            with (folder / f"{program}.out").open("wb") as log:
                started.append(subprocess.Popen([program, "-D"], env=env, stdout=log, stderr=log))
        _until(lambda: "idle" in _output(["sinfo", "-h", "-o", "%T"], env), 120)
        yield env
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _output(command: list[str], env: dict[str, str]) -> str:
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True).stdout


def _until(ready: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        if time.monotonic() > end:
            pytest.fail("SLURM has not started")
        time.sleep(0.5)
