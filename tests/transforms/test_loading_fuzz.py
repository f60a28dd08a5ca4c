"""Files damaged at random end in a sound volume or in one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nifti_makers import save, values
from volume_checks import load_or_refuse


def mutate(path: Path, changes: list[tuple[int, int]], ending: int) -> None:
    data = bytearray(path.read_bytes())
    for where, what in changes:
        data[where % min(len(data), 352)] = what
    path.write_bytes(bytes(data[: len(data) - ending]))


CHANGES = st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6)


def fuzz_nifti(folder: Path, changes: list[tuple[int, int]], ending: int, form: str) -> None:
    path = folder / f"fuzz{form}"
    if form == ".nii":
        save(path, values())
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values()), str(path))
    mutate(path, changes, ending)
    load_or_refuse(path, named=path.name, modality="PET")


fuzzed = given(
    changes=CHANGES,
    ending=st.sampled_from([0, 0, 1, 100, 800]),
    form=st.sampled_from([".nii", ".nii", ".mha", ".nrrd"]),
)
quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=quiet)
@example(changes=[(42, 0x80), (43, 0x80)], ending=0, form=".nii")
@example(changes=[(70, 0), (71, 0)], ending=0, form=".nii")
@fuzzed
def test_mutated_headers(
    tmp_path: Path, changes: list[tuple[int, int]], ending: int, form: str
) -> None:
    fuzz_nifti(tmp_path, changes, ending, form)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=quiet)
@fuzzed
def test_many_mutated_headers(
    tmp_path: Path, changes: list[tuple[int, int]], ending: int, form: str
) -> None:
    fuzz_nifti(tmp_path, changes, ending, form)
