"""A volume of 512 x 512 x 400 voxels fits into 6 GB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 6e9
FULL = (512, 400)


def peaks(folder: Path, modality: str, *sizes: tuple[int, int]) -> list[int]:
    """Peak bytes after the fusion of each size, in a process of its own."""
    program = Path(__file__).with_name("large_volume.py")
    # A fixed threshold: the allocator hands freed volumes back, however small the test's are.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    command = [sys.executable, str(program), str(folder), modality]
    command += [f"{side}x{slices}" for side, slices in sizes]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout
    return [int(line.split()[-1]) for line in out.splitlines() if line.startswith("peak bytes")]


@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_memory_grows_slowly_with_the_volume(tmp_path: Path, modality: str) -> None:
    sizes = [(128, 96), (192, 120)]
    small, large = peaks(tmp_path, modality, *sizes)
    voxels = [side * side * slices for side, slices in sizes]
    slope = (large - small) / (voxels[1] - voxels[0])
    # At least the two sources, the result and the pair that the network is given.
    assert slope > 4 * 4
    assert large + slope * (FULL[0] ** 2 * FULL[1] - voxels[1]) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_peak_of_the_memory(tmp_path: Path, modality: str) -> None:
    (peak,) = peaks(tmp_path, modality, FULL)
    assert 2e9 < peak < LIMIT
