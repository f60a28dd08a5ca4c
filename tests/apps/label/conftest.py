"""Fixtures of the tests of the label server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def volumes(label_volumes: Path) -> Path:
    return label_volumes


@pytest.fixture(scope="module")
def running(label_server: Any) -> Any:
    return label_server.forget()
