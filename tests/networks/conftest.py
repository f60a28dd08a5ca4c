"""Fixtures of the tests of networks: a published state dictionary and files of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_makers import copy_of_checkpoint, copy_of_prior, small_state, write_originals
from torch import Tensor


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    return small_state()


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_originals(tmp_path_factory.mktemp("originals"))


@pytest.fixture
def checkpoint(originals: Path, tmp_path: Path) -> Path:
    return copy_of_checkpoint(originals, tmp_path)


@pytest.fixture
def prior(originals: Path, tmp_path: Path) -> Path:
    return copy_of_prior(originals, tmp_path)
