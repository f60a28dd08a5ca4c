"""The model zoo's layout: the bundle in ``models`` of the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_parts import BUNDLE


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / BUNDLE.name).symlink_to(BUNDLE, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
