"""A volume of 512 x 512 x 400 voxels fits into 6 GB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_peak_of_the_memory(tmp_path: Path) -> None:
    program = Path(__file__).with_name("large_volume.py")
    out = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "512", "400"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    peak = int(out.split("peak bytes")[1])
    assert 2e9 < peak < 6e9
