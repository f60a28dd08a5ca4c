"""Fixtures of the tests of the label server."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_servers import write_subjects


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_subjects(tmp_path_factory.mktemp("volumes"))
