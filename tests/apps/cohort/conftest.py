"""Fixtures of the tests of cohorts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cohort_makers import cohort_with_faults


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort_with_faults(tmp_path_factory.mktemp("cohort") / "bids")
