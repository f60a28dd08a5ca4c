"""3D Slicer module: fuse an MRI with a CT, PET or SPECT of the same patient by monai_ddfm."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from MONAIDDFMLib.fusing import MODALITIES, FusionError, InstalledCommand, LabelServer, Run
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

NOTICE = "Research use only - not for diagnosis."
_LOOK_MS = 250
_SETTINGS = "MONAIDDFM"


class MONAIDDFM(ScriptedLoadableModule):
    """What the list of modules shows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MRI and PET/CT/SPECT fusion (DDFM)"
        self.parent.categories = ["Filtering"]
        self.parent.dependencies = []
        self.parent.contributors = ["The monai_ddfm contributors"]
        self.parent.helpText = (
            "Fuses an MRI with a CT, PET or SPECT of the same patient into one volume that shows "
            "both. The work is done by the command monai-ddfm of another Python environment, or "
            f"by a server that monai-ddfm label runs. {NOTICE}"
        )
        self.parent.acknowledgementText = "The method is DDFM: Zhao et al., ICCV 2023."


class MONAIDDFMLogic(ScriptedLoadableModuleLogic):
    """Between Slicer's scene and the files that a fusion reads and writes."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.folder: tempfile.TemporaryDirectory | None = None

    def start(
        self, by: InstalledCommand | LabelServer, mri: Any, moving: Any, modality: str, options: Any
    ) -> Run:
        """Write the volumes of two nodes to files and begin their fusion.

        Args:
            by: who fuses.
            mri: node of the MRI.
            moving: node of the PET, CT or SPECT.
            modality: of `moving`.
            options: values by name.

        Raises:
            FusionError: a node cannot be written.
        """
        self.clear()
        self.folder = tempfile.TemporaryDirectory(prefix="MONAIDDFM-")
        place = Path(self.folder.name)
        files = []
        for name, node in (("mri", mri), ("moving", moving)):
            file = place / f"{name}.nii.gz"
            # With the transforms above the node, as the views show it.
            if not slicer.util.exportNode(node, str(file), world=True):
                raise FusionError(f"{node.GetName()} cannot be saved as NIfTI.")
            files.append(file)
        out = place / "out"
        return by.fuse(files[0], files[1], modality=modality, folder=out, options=options)

    def finish(self, run: Run, mri: Any, moving: Any) -> tuple[Any, Any]:
        """Load what a run has left, and show it.

        Returns:
            Nodes of the fusion and of the registered volume; `moving` itself from a server.

        Raises:
            FusionError: the run has failed.
        """
        outcome = run.outcome()
        names = (mri.GetName(), moving.GetName())
        fused = _loaded(outcome.fused, f"{names[0]} + {names[1]} (DDFM)")
        registered = moving
        if outcome.moving is not None:
            registered = _loaded(outcome.moving, f"{names[1]} registered to {names[0]}")
            _look_like(registered, moving)
        self.clear()
        self.show(fused, registered)
        return fused, registered

    @staticmethod
    def show(fused: Any, over: Any, opacity: float = 0.0) -> None:
        """Show the fusion in all slice views, and a source over it, for the slider of opacity."""
        slicer.util.setSliceViewerLayers(
            background=fused, foreground=over, foregroundOpacity=opacity, fit=True
        )

    def clear(self) -> None:
        """Remove the files of the last run."""
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None


def _loaded(path: Path, name: str) -> Any:
    node = slicer.util.loadVolume(str(path), {"name": name})
    node.SetName(name)
    return node


def _look_like(node: Any, other: Any) -> None:
    """Show a volume with the colors and the window of another."""
    mine, theirs = node.GetDisplayNode(), other.GetDisplayNode()
    if mine and theirs:
        mine.SetAndObserveColorNodeID(theirs.GetColorNodeID())
        mine.SetAutoWindowLevel(False)
        mine.SetWindowLevel(theirs.GetWindow(), theirs.GetLevel())


class MONAIDDFMWidget(ScriptedLoadableModuleWidget):
    """The panel of the module."""

    def setup(self) -> None:
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = MONAIDDFMLogic()
        self.run: Run | None = None
        self.nodes: tuple[Any, Any] = (None, None)
        self.shown: tuple[Any, dict[str, Any]] = (None, {})
        self.controls: dict[str, tuple[Any, Any]] = {}
        self.layout.addWidget(qt.QLabel(NOTICE))
        self._sources()
        self._who()
        self._options_panel()
        self._buttons()
        self._view()
        self.layout.addStretch(1)
        self.timer = qt.QTimer()
        self.timer.setInterval(_LOOK_MS)
        self.timer.connect("timeout()", self.look)
        self.connect_to()

    def cleanup(self) -> None:
        """Slicer closes."""
        self.timer.stop()
        if self.run is not None:
            self.run.cancel()
        self.logic.clear()

    def _panel(self, title: str, *, collapsed: bool = False) -> Any:
        button = ctk.ctkCollapsibleButton()
        button.text, button.collapsed = title, collapsed
        self.layout.addWidget(button)
        return qt.QFormLayout(button)

    def _sources(self) -> None:
        form = self._panel("Volumes")
        self.mri, self.moving = self._selector(), self._selector()
        self.modality = qt.QComboBox()
        self.modality.addItems(list(MODALITIES))
        form.addRow("MRI:", self.mri)
        form.addRow("Other volume:", self.moving)
        form.addRow("It is a:", self.modality)

    @staticmethod
    def _selector() -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.selectNodeUponCreation = False
        selector.addEnabled = selector.removeEnabled = False
        selector.noneEnabled = True
        selector.setMRMLScene(slicer.mrmlScene)
        return selector

    def _who(self) -> None:
        form = self._panel("Who fuses", collapsed=True)
        self.program, self.server = qt.QLineEdit(), qt.QLineEdit()
        self.program.text = slicer.util.settingsValue(f"{_SETTINGS}/program", "")
        self.server.text = slicer.util.settingsValue(f"{_SETTINGS}/server", "")
        self.program.setPlaceholderText("monai-ddfm")
        self.server.setPlaceholderText("http://127.0.0.1:8000, instead of the command")
        form.addRow("Command:", self.program)
        form.addRow("Server:", self.server)
        for line in (self.program, self.server):
            line.connect("editingFinished()", self.connect_to)

    def _options_panel(self) -> None:
        self.options = self._panel("Options", collapsed=True)

    def _buttons(self) -> None:
        self.apply, self.cancel = qt.QPushButton("Apply"), qt.QPushButton("Cancel")
        self.apply.connect("clicked()", self.on_apply)
        self.cancel.connect("clicked()", self.on_cancel)
        self.cancel.enabled = False
        self.bar, self.says = qt.QProgressBar(), qt.QLabel()
        self.bar.setRange(0, 100)
        self.says.wordWrap = True
        for widget in (self.apply, self.cancel, self.bar, self.says):
            self.layout.addWidget(widget)

    def _view(self) -> None:
        form = self._panel("Over the fusion")
        self.over, self.opacity = qt.QComboBox(), ctk.ctkSliderWidget()
        self.opacity.maximum, self.opacity.singleStep = 1.0, 0.05
        form.addRow("Source:", self.over)
        form.addRow("Opacity:", self.opacity)
        self.over.connect("currentIndexChanged(int)", self.on_view)
        self.opacity.connect("valueChanged(double)", self.on_view)

    def connect_to(self) -> None:
        """Ask the command or the server that is named which options it has."""
        settings = qt.QSettings()
        settings.setValue(f"{_SETTINGS}/program", self.program.text)
        settings.setValue(f"{_SETTINGS}/server", self.server.text)
        try:
            self.by = (
                LabelServer(self.server.text)
                if self.server.text.strip()
                else InstalledCommand(self.program.text, env=slicer.util.startupEnvironment())
            )
            declared = self.by.options()
        except FusionError as error:
            self.by, declared = None, []
            self.says.text = str(error)
        self.apply.enabled = self.by is not None
        while self.options.rowCount():
            self.options.removeRow(0)
        self.controls = {option["name"]: self._control(option) for option in declared}

    def _control(self, option: dict[str, Any]) -> tuple[Any, Any]:
        """Add a row for an option; returns what gives its value, and the default."""
        default = "" if option["default"] is None else option["default"]
        if option["kind"] == "switch":
            control = qt.QCheckBox()
            control.checked = bool(default)
            place = "checked"
        elif option["words"]:
            control = qt.QComboBox()
            control.editable = not option["only_words"]
            control.addItems([str(default), *(w for w in option["words"] if w != default)])
            place = "currentText"
        else:
            control = qt.QLineEdit(str(default))
            place = "text"
        control.toolTip = " ".join(filter(None, (option["help"], option["unit"])))
        self.options.addRow(f"{option['name'].replace('_', ' ').capitalize()}:", control)
        wanted = default if option["kind"] == "switch" else str(default)
        return partial(getattr, control, place), wanted

    def chosen(self) -> dict[str, Any]:
        """Return the options whose values are not the defaults."""
        chosen = {}
        for name, (read, default) in self.controls.items():
            value = read()
            value = value.strip() if isinstance(value, str) else bool(value)
            if value != default:
                chosen[name] = value
        return chosen

    def on_apply(self) -> None:
        """Begin."""
        mri, moving = self.mri.currentNode(), self.moving.currentNode()
        if mri is None or moving is None or mri is moving:
            self.says.text = "Choose the MRI and the other volume."
            return
        self.nodes = mri, moving
        try:
            with slicer.util.WaitCursor():
                self.run = self.logic.start(
                    self.by, mri, moving, self.modality.currentText, self.chosen()
                )
        except FusionError as error:
            self.says.text = str(error)
            return
        self._busy(True)
        self.timer.start()

    def on_cancel(self) -> None:
        """End the run."""
        if self.run is not None:
            self.run.cancel()
            self.says.text = "stopping"

    def look(self) -> None:
        """See how far the run is; the timer calls this."""
        run = self.run
        if run is None:
            return
        if not run.finished:
            self.bar.setRange(0, 0 if run.progress is None else 100)
            self.bar.setValue(round(100 * (run.progress or 0)))
            if not run.cancelled:
                self.says.text = run.doing
            return
        self.timer.stop()
        self._busy(False)
        self.run = None
        try:
            fused, registered = self.logic.finish(run, *self.nodes)
        except FusionError as error:
            self.says.text = str(error)
            return
        self.says.text = "\n".join((*run.outcome().warnings, NOTICE))
        sources = {registered.GetName(): registered, self.nodes[0].GetName(): self.nodes[0]}
        self.shown = fused, sources
        self.over.clear()
        self.over.addItems(list(sources))

    def on_view(self, *_: Any) -> None:
        """Put the chosen source over the fusion."""
        fused, sources = self.shown
        over = sources.get(self.over.currentText)
        if fused is not None and over is not None:
            self.logic.show(fused, over, self.opacity.value)

    def _busy(self, busy: bool) -> None:
        self.apply.enabled, self.cancel.enabled = not busy, busy
        self.bar.setRange(0, 100)
        self.bar.setValue(0 if busy else 100)


class MONAIDDFMTest(ScriptedLoadableModuleTest):
    """The module in a running Slicer: two heads of simple shapes become a fusion."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests."""
        self.setUp()
        self.test_fusion()

    def test_fusion(self) -> None:
        """Fuse two small volumes by the installed command, and look at the result."""
        import numpy as np  # noqa: PLC0415 - only the test needs it

        place = np.indices((24, 28, 28)) - np.reshape((12, 14, 14), (3, 1, 1, 1))
        inside = (place**2).sum(axis=0) < 110
        spot = (np.abs(place) < 4).all(axis=0)
        mri = slicer.util.addVolumeFromArray(np.where(inside, 400.0 + 20 * place[0], 10.0))
        pet = slicer.util.addVolumeFromArray(np.where(spot, 9.0, inside * 2.0))
        logic = MONAIDDFMLogic()
        by = InstalledCommand(env=slicer.util.startupEnvironment())
        run = logic.start(by, mri, pet, "PET", {"registration": "none", "device": "cpu"})
        while not run.finished:
            slicer.app.processEvents()
            run.wait(0.1)
        fused, registered = logic.finish(run, mri, pet)
        size = mri.GetImageData().GetDimensions()
        assert fused.GetImageData().GetDimensions() == size
        assert registered.GetImageData().GetDimensions() == size
        self.delayDisplay("The fusion is there.")
