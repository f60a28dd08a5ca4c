"""What the demo cannot make ends in one sentence, and a killed run leaves no half file."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import pytest

from monai_ddfm.apps.demo import make_demo
from monai_ddfm.errors import InputError

pytest.importorskip("nilearn")


def test_killed_run_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_half(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(nib, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path, scale=4.0)
    assert list(tmp_path.iterdir()) == []


def test_without_nilearn_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(InputError, match=r'pip install .*\[demo\]"'):
        make_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "US"}, "unknown modality 'US'"),
        ({"seed": -1}, "seed is -1"),
        ({"scale": 0.5}, "scale is 0.5"),
        ({"scale": float("nan")}, "scale is nan"),
    ],
)
def test_a_demo_that_cannot_be_is_refused(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_demo(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*choose another output folder"):
        make_demo(tmp_path / "file" / "demo")
