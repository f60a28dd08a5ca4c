"""A fusion shows itself in a notebook, and the notebook of the documentation runs."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_ddfm.data.writers import write_nifti
from monai_ddfm.visualize.notebook import result_html, result_viewer
from monai_ddfm.workflow import FusionResult

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "notebook.ipynb"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    Image.new("RGB", (8, 4), "red").save(tmp_path / "preview.png")
    for name in ("fused.nii.gz", "moving_registered.nii.gz"):
        write_nifti(tmp_path / name, np.ones((4, 5, 6), np.float32), np.eye(4))
    return {path.name: path for path in sorted(tmp_path.iterdir())}


def test_the_preview_and_the_warnings_are_in_the_page(files: dict[str, Path]) -> None:
    page = result_html(files, ["the heads <may> differ"])
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert data is not None
    assert base64.b64decode(data[1]) == files["preview.png"].read_bytes()
    assert "warning: the heads &lt;may&gt; differ" in page
    assert "research use only - not for diagnosis" in page
    assert "nothing was written" in result_html({}, [])


def test_without_a_viewer_the_preview_is_shown(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    bundle = FusionResult(tmp_path, files, {"warnings": ["look"]})._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "warning: look" in bundle["text/html"]


def test_with_a_viewer_the_preview_stays_for_those_who_have_none(
    files: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("ipyniivue", reason="needs the extra notebook")
    bundle = FusionResult(tmp_path, files, {})._repr_mimebundle_()
    assert "image/png;base64" in bundle["text/html"]
    assert bundle[WIDGET]["model_id"]
    viewer = result_viewer(files)
    assert [volume.name for volume in viewer.volumes] == [
        "fused.nii.gz",
        "moving_registered.nii.gz",
    ]
    assert viewer.volumes[1].opacity == 0
    assert result_viewer({"preview.png": files["preview.png"]}) is None


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert "research use only - not for diagnosis" in str(cells[0]).lower()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra test")
    nbformat = pytest.importorskip("nbformat")
    book: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    shown = [o.data for o in outputs if o.output_type == "execute_result"]
    assert len(shown) == 1
    assert "image/png;base64" in shown[0]["text/html"]
    assert (tmp_path / "notebook_demo/out/fused.nii.gz").is_file()
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
    assert "beyond the sources: 0.0" in printed
