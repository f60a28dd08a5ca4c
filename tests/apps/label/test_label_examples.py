"""The clients in ``examples/``, against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="needs the environment of MONAI Label")

import SimpleITK as sitk
from label_servers import FAST, Server, fuse_alone, mri, pet, values_of, write_volume

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


def test_client(
    running: Server, files: dict[str, Path], expected: FusionResult, tmp_path: Path
) -> None:
    before, out = running.sessions, tmp_path / "fused.nii.gz"
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
    assert running.sessions == before


def test_slicer_module_with_a_server(
    running: Server,
    files: dict[str, Path],
    expected: FusionResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "slicer" / "MONAIDDFM"))
    from MONAIDDFMLib import fusing  # noqa: PLC0415 - from the folder of the module

    before, by = running.sessions, fusing.LabelServer(running.url)
    offered = {option["name"]: option for option in by.options()}
    assert offered["preset"]["words"][0] == "default"
    assert "store" not in offered

    def fused(**options: object) -> Path:
        run = by.fuse(files["T1"], files["PET"], modality="PET", folder=tmp_path, options=options)
        run.wait(300)
        assert run.finished
        path: Path = run.outcome().fused
        return path

    loaded = sitk.ReadImage(str(fused(**FAST)))
    truth = sitk.ReadImage(str(expected.files["fused_rgb.nii.gz"]))
    assert loaded.GetNumberOfComponentsPerPixel() == 3
    assert np.array_equal(sitk.GetArrayFromImage(loaded), sitk.GetArrayFromImage(truth))
    assert loaded.GetOrigin() == truth.GetOrigin()
    with pytest.raises(fusing.FusionError, match="window 'wide' is unknown"):
        fused(window="wide")
    assert running.sessions == before
