"""The module for 3D Slicer: what it does without Slicer, with the real command.

Slicer is not on any index, so its own classes are played by stand-ins, and only where the module
cannot do without them: two functions that write and read nodes, and the widgets of the panel.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from monai_ddfm.options import options_of

SLICER = Path(__file__).resolve().parents[2] / "examples" / "slicer" / "MONAIDDFM"
PROGRAM = Path(sys.executable).with_name("monai-ddfm")


@pytest.fixture
def fusing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SLICER))
    from MONAIDDFMLib import fusing as loaded  # noqa: PLC0415 - from the folder of the module

    return loaded


@pytest.fixture
def by(fusing: Any) -> Any:
    if not PROGRAM.is_file():
        pytest.skip("the command is not installed")
    return fusing.InstalledCommand(str(PROGRAM), env={**os.environ, "OMP_NUM_THREADS": "1"})


def volume(path: Path, values: NDArray[Any]) -> Path:
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two heads of simple shapes, as the module's own test in Slicer has them."""
    folder = tmp_path_factory.mktemp("heads")
    place = np.indices((24, 28, 28)) - np.reshape((12, 14, 14), (3, 1, 1, 1))
    inside, spot = (place**2).sum(axis=0) < 110, (np.abs(place) < 4).all(axis=0)
    mri = np.where(inside, 400 + 20 * place[0], 10)
    pet = np.where(spot, 9.0, inside * 2.0)
    return volume(folder / "mri.nii.gz", mri), volume(folder / "pet.nii.gz", pet)


def test_options_are_those_of_the_package(by: Any) -> None:
    common = [o.name for o in options_of("fuse").values() if o.common and not o.required]
    told = by.options()
    elsewhere = {"modality", "device", "format", "deidentify", "dry_run"}
    assert [option["name"] for option in told] == [n for n in common if n not in elsewhere]
    assert len(told) >= 5


def test_progress_is_read_from_what_the_program_says(fusing: Any) -> None:
    run = fusing.Run()
    seen = []
    for line in (
        "found a.nii.gz (MRI) and b.nii.gz (PET); loading PyTorch and MONAI",
        "registering",
        "fusing",
        "fusing: 50 % of the sampling, about 3 s to go",
        "warning: something to look at",
        "writing",
    ):
        run._hear(line)
        seen.append(run.progress)
    assert seen == sorted(seen)
    assert seen[3] == pytest.approx(0.6)
    assert run.doing == "writing"


def test_a_refusal_is_the_programs_own_sentence(
    fusing: Any, by: Any, heads: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = by.fuse(heads[0], tmp_path / "gone.nii.gz", modality="PET", folder=out)
    run.wait(60)
    with pytest.raises(fusing.FusionError, match=r"^\S*gone.nii.gz does not exist; check the path"):
        run.outcome()
    assert not out.exists()
    with pytest.raises(fusing.FusionError, match="is not a program here"):
        fusing.InstalledCommand("no-such-program")


@pytest.mark.slow
def test_a_run_can_be_cancelled(
    fusing: Any, by: Any, heads: tuple[Path, Path], tmp_path: Path
) -> None:
    options = {"preset": "reference", "steps": 900, "registration": "none", "device": "cpu"}
    run = by.fuse(*heads, modality="PET", folder=tmp_path / "out", options=options)
    while not run.finished and run.progress < 0.3:
        time.sleep(0.1)
    run.cancel()
    run.wait(120)
    assert run.finished
    with pytest.raises(fusing.FusionError, match="cancelled"):
        run.outcome()
    assert not list(tmp_path.glob("out/*.*gz"))


# --- the module itself, with stand-ins for Slicer's classes


class Node(SimpleNamespace):
    def GetName(self) -> str:  # noqa: N802
        return str(self.name)

    def SetName(self, name: str) -> None:  # noqa: N802
        self.name = name

    def GetDisplayNode(self) -> None:  # noqa: N802
        return None


@pytest.fixture
def module(fusing: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def export(node: Node, path: str, *, world: bool) -> bool:
        shutil.copy(node.path, path)
        return world

    def load(path: str, properties: dict[str, Any]) -> Node:
        data = nib.load(path)
        return Node(shape=data.shape, dtype=data.get_data_dtype(), **properties)

    slicer, base = MagicMock(), ModuleType("slicer.ScriptedLoadableModule")
    slicer.util.exportNode, slicer.util.loadVolume = export, load
    slicer.util.settingsValue = lambda key, default: str(PROGRAM) if "program" in key else default
    slicer.util.startupEnvironment = lambda: {**os.environ, "OMP_NUM_THREADS": "1"}

    class Base:
        def __init__(self, *_: Any) -> None:
            self.layout = MagicMock()

        def setup(self) -> None: ...

    for name in ("", "Logic", "Test", "Widget"):
        setattr(base, f"ScriptedLoadableModule{name}", type(f"Base{name}", (Base,), {}))
    for name, stub in (("slicer", slicer), ("qt", MagicMock()), ("ctk", MagicMock())):
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", base)
    monkeypatch.delitem(sys.modules, "MONAIDDFM", raising=False)
    import MONAIDDFM  # noqa: PLC0415 - from the folder of the module

    yield SimpleNamespace(code=MONAIDDFM, slicer=slicer)
    sys.modules.pop("MONAIDDFM", None)


@pytest.mark.slow
def test_two_nodes_become_a_fusion_that_is_shown(
    module: Any, by: Any, heads: tuple[Path, Path]
) -> None:
    logic = module.code.MONAIDDFMLogic()
    mri, pet = (Node(name=n, path=p) for n, p in zip(("T1", "FDG"), heads, strict=True))
    run = logic.start(by, mri, pet, "PET", {"registration": "none", "device": "cpu"})
    run.wait(300)
    fused, registered = logic.finish(run, mri, pet)
    assert (fused.name, registered.name) == ("T1 + FDG (DDFM)", "FDG registered to T1")
    assert fused.shape == registered.shape == (24, 28, 28)
    assert fused.dtype.names == ("R", "G", "B")
    assert run.progress == 1.0
    assert logic.folder is None  # nothing is left on disk
    shown = module.slicer.util.setSliceViewerLayers.call_args.kwargs
    assert (shown["background"], shown["foreground"]) == (fused, registered)


def test_the_panel_asks_the_command_and_reports_a_refusal(
    module: Any, fusing: Any, heads: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not PROGRAM.is_file():
        pytest.skip("the command is not installed")
    qt = sys.modules["qt"]
    qt.QLineEdit = lambda text="": MagicMock(text=text)
    qt.QComboBox = lambda: MagicMock(currentText="PET")
    qt.QFormLayout = lambda _: MagicMock(rowCount=lambda: 0)
    qt.QPushButton = qt.QLabel = lambda *_: MagicMock()  # each its own
    module.slicer.qMRMLNodeComboBox = MagicMock
    panel = module.code.MONAIDDFMWidget()
    panel.setup()
    assert {"preset", "registration", "window"} <= panel.controls.keys()
    panel.controls = {"window": (lambda: "0..0 ", ""), "bone_tint": (lambda: False, False)}
    assert panel.chosen() == {"window": "0..0"}
    panel.mri.currentNode = lambda: Node(name="T1", path=heads[0])
    panel.moving.currentNode = lambda: None
    panel.on_apply()
    assert panel.says.text == "Choose the MRI and the other volume."
    flat = volume(heads[0].with_name("flat.nii.gz"), np.ones((24, 28, 1)))
    other = Node(name="FDG", path=flat)
    panel.moving.currentNode = lambda: other
    panel.on_apply()
    assert panel.cancel.enabled
    panel.run.wait(60)
    panel.look()
    assert "is not a volume" in panel.says.text
    assert panel.apply.enabled
    assert panel.run is None
