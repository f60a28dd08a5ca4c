"""A volume of 512 x 512 x 400 voxels fits into 6 GB; with several samples, into 6.5 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMIT = 6e9
LIMIT_OF_SAMPLES = 6.5e9


def peak(
    folder: Path,
    modality: str,
    output_format: str,
    options: dict[str, Any],
    *,
    side: int,
    slices: int,
) -> int:
    """Peak bytes of a fusion, in a process of its own."""
    program = Path(__file__).parents[1] / "makers" / "large_volume.py"
    command = [sys.executable, str(program), str(folder), modality, output_format]
    out = subprocess.run(
        [*command, f"{side}x{slices}", json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in out.splitlines() if line.startswith("peak bytes")]
    return int(line.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modality", "output_format", "options"),
    [
        ("CT", "nifti", {}),
        ("PET", "nifti", {}),
        ("PET", "both", {}),
        ("PET", "nifti", {"samples": 2}),
        ("PET", "nifti", {"smooth_across": 1.0}),
    ],
)
def test_peak_of_the_memory(
    tmp_path: Path, modality: str, output_format: str, options: dict[str, Any]
) -> None:
    found = peak(tmp_path, modality, output_format, options, side=512, slices=400)
    print(f"{modality}, {output_format}, {options}: {found / 1e9:.2f} GB")
    assert 2e9 < found < (LIMIT_OF_SAMPLES if options.get("samples") else LIMIT)
