"""Fixtures of the tests of the benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_makers import make_prior, save_pictures

from monai_ddfm.apps.benchmark import Prior


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return save_pictures(tmp_path / "pairs")


@pytest.fixture(scope="module")
def small_prior() -> Prior:
    return make_prior()
