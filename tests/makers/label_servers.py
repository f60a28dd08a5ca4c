"""Real servers for the tests of the MONAI Label app, on loopback, and what the tests ask them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import psutil
import requests
import torch
from head_phantom import head, radius
from local_servers import free_port

from monai_ddfm.workflow import FusionResult
from monai_ddfm.workflow import fuse as fuse_here

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
FAST = {"steps": 2, "registration": "none"}
SLOW = {"steps": 500, "registration": "none"}
QUEUE = 9


def mri(seed: int = 0) -> np.ndarray:
    """A head of 48 x 56 x 10 voxels, as an MRI shows it."""
    return head(seed, noise=4.0).numpy()[0]


def pet(seed: int = 0) -> np.ndarray:
    """The same head, as a PET shows it: brain bright, one hot spot, no skull."""
    r = radius().numpy()
    generator = np.random.default_rng(seed)
    values = np.where(r < 0.82, 3000.0, 300.0 * (r < 1.0)) + generator.uniform(0, 200, r.shape)
    values[20:24, 20:25, 4:6] = 12000.0
    return values.astype(np.float32)


def write_volume(path: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values.astype(np.float32), AFFINE), path)
    return path


def write_subjects(folder: Path) -> Path:
    """Subjects of one, two and three volumes in a folder."""
    write_volume(folder / "a_t1.nii.gz", mri(1))
    write_volume(folder / "a_pet.nii.gz", pet(1))
    write_volume(folder / "lonely_t1.nii.gz", mri(2))
    write_volume(folder / "two_t1.nii.gz", mri(3))
    write_volume(folder / "two_pet.nii.gz", pet(3))
    write_volume(folder / "two_spect.nii.gz", pet(4))
    return folder


class Server:
    """A running server and how to ask it."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.url, self.process, self.folder = url, process, folder
        self._before = 0

    def forget(self) -> Server:
        """Begin a new log: what was said until now was said to other tests."""
        self._before = (self.folder / "log").stat().st_size
        return self

    @property
    def log(self) -> str:
        return (self.folder / "log").read_bytes()[self._before :].decode("utf-8", "replace")

    @property
    def sessions(self) -> set[Path]:
        """What clients have uploaded."""
        return set((self.folder / "sessions").glob("*-*"))

    @property
    def scratch(self) -> list[Path]:
        """What requests have left behind."""
        return list((self.folder / "tmp").glob("ddfm-label-*"))

    def infer(
        self, image: str = "", params: Any = None, *, output: str | None = "image", **query: str
    ) -> requests.Response:
        asked = {**({"output": output} if output else {}), **query}
        if image:
            asked["image"] = image
        return requests.post(
            f"{self.url}/infer/ddfm",
            params=asked,
            data={"params": params if isinstance(params, str) else json.dumps(params or FAST)},
            timeout=300,
        )

    def workers(self) -> list[psutil.Process]:
        """The processes that fuse."""
        children = psutil.Process(self.process.pid).children()
        return [one for one in children if any("spawn_main" in part for part in one.cmdline())]

    def wait_for(self, text: str, *, after: int = 0, seconds: float = 60) -> None:
        """Wait until the log says this, after so many characters."""
        end = time.monotonic() + seconds
        while text not in self.log[after:]:
            assert time.monotonic() < end, self.log
            time.sleep(0.1)


@contextmanager
def server(
    folder: Path, studies: Path | str, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run ``monai-ddfm label`` in a process of its own until the block ends."""
    port = free_port()
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    own = {
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "MPLCONFIGDIR": mpl.get_cachedir(),  # making its list of fonts takes long
        "OMP_NUM_THREADS": "1",
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
    }
    call = [sys.executable, "-m", "monai_ddfm", "label", "--studies", str(studies)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*call, "--port", str(port), "--device", "cpu", *options],
            env={**os.environ, **own, **(env or {})},
            stdout=log,
            stderr=log,
        )
    made = Server(f"http://127.0.0.1:{port}", process, folder)
    try:
        made.wait_for("ready at port", seconds=400)
        _until_open(made.url, process)
        yield made
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _until_open(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/info/", timeout=20).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


def fuse_alone(
    fixed: Path, moving: Path | Sequence[Path], output_dir: Path, **options: Any
) -> FusionResult:
    """Fuse without any server, with as many threads as the server has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        chosen = {"modality": "PET", "device": "cpu", **FAST, **options}
        return fuse_here(fixed, moving, output_dir=output_dir, **chosen)
    finally:
        torch.set_num_threads(threads)


def values_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels as they are stored, and the affine."""
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def received(answer: requests.Response, path: Path) -> Path:
    """Write what a server sent to a file."""
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return path
