"""Fixtures of the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_makers import save_heads


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_heads(tmp_path_factory.mktemp("heads"))
