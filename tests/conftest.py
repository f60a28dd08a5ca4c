"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Busy machines make single examples slow; a fixed seed makes a failure repeatable.
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data beside the checkout; the test is skipped where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("reference data are not beside this checkout")
    return SHARED
