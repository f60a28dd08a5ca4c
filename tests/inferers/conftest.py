"""Fixtures of the tests of inferers."""

from __future__ import annotations

import pytest
from run_cases import RecordingNet


@pytest.fixture(scope="module")
def small() -> RecordingNet:
    return RecordingNet()
