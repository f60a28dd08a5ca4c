"""Fixtures of the tests of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from refused_runs import refusing

from monai_ddfm.apps.demo import DemoSubject


@pytest.fixture
def refuse(
    pet: DemoSubject,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Run a fusion that must be refused; gives the sentence."""
    monkeypatch.chdir(tmp_path)  # what goes astray shall land there
    return refusing(pet, tmp_path, capfd)
