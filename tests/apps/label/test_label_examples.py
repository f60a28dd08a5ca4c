"""The clients in ``examples/``, against a real server.

3D Slicer cannot be installed here; its two functions that the script calls are played by nibabel
and SimpleITK, so what is tried is what the script sends and what it gives Slicer to load.
"""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs the environment of MONAI Label")

import SimpleITK as sitk
from label_servers import FAST, Server, fuse_alone, mri, pet, server, values_of, write_volume

from monai_ddfm.workflow import FusionResult

pytestmark = pytest.mark.label

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {
        "T1": write_volume(folder / "t1.nii.gz", mri(1)),
        "PET": write_volume(folder / "pet.nii.gz", pet(1)),
    }


@pytest.fixture(scope="module")
def expected(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FusionResult:
    return fuse_alone(files["T1"], files["PET"], tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("empty")) as made:
        yield made


def sessions(running: Server) -> list[Path]:
    return list((running.folder / "sessions").glob("*-*"))


def test_client(
    running: Server, files: dict[str, Path], expected: FusionResult, tmp_path: Path
) -> None:
    out = tmp_path / "fused.nii.gz"
    call = [sys.executable, EXAMPLES / "label_client.py", files["T1"], files["PET"]]
    more = ["--modality", "PET", "--out", out, "--server", running.url]
    options = ["--options", '{"steps": 2, "registration": "none"}']
    done = subprocess.run([*call, *more, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "research use only - not for diagnosis" in done.stdout
    assert np.array_equal(values_of(out)[0], values_of(expected.files["fused.nii.gz"])[0])
    refused = subprocess.run(
        [*call, *more, "--options", '{"steps": -1}'], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "steps must be a whole number" in refused.stderr
    assert sessions(running) == []


def test_script_for_slicer(
    running: Server,
    files: dict[str, Path],
    expected: FusionResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def save(node: Path, file: str) -> bool:
        shutil.copy(node, file)
        return True

    slicer = ModuleType("slicer")
    slicer.util = SimpleNamespace(getNode=files.get, saveNode=save, loadVolume=sitk.ReadImage)
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    fuse_in_slicer = runpy.run_path(str(EXAMPLES / "slicer_fusion.py"))["fuse_in_slicer"]
    loaded = fuse_in_slicer("T1", "PET", modality="PET", server=running.url, **FAST)
    truth = sitk.ReadImage(str(expected.files["fused_rgb.nii.gz"]))
    assert loaded.GetNumberOfComponentsPerPixel() == 3
    assert np.array_equal(sitk.GetArrayFromImage(loaded), sitk.GetArrayFromImage(truth))
    assert loaded.GetOrigin() == truth.GetOrigin()
    with pytest.raises(RuntimeError, match="window 'wide' is unknown"):
        fuse_in_slicer("T1", "PET", modality="PET", server=running.url, window="wide")
    assert sessions(running) == []
