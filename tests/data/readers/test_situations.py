"""Situations that users of this and similar software have reported, with what is right in each.

Each row names who has reported it: a project and the number of its issue or pull request. The
inputs are made here; the values are known from how they are made.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import situations_dicom
import situations_dicom_places
import situations_volumes
from situation_rows import EXTENT, Row, check
from volume_checks import notes

from monai_ddfm.transforms.loading import LoadVolume

ROWS = [*situations_volumes.ROWS, *situations_dicom.ROWS, *situations_dicom_places.ROWS]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what.replace(" ", "-"))
def test_situation(row: Row, tmp_path: Path) -> None:
    check(row, tmp_path)


def test_the_table_is_one_of_different_situations() -> None:
    assert len(ROWS) >= 60
    assert len({row.what for row in ROWS}) == len(ROWS)
    assert all(row.source.rpartition(" ")[2].isdigit() for row in ROWS)


@pytest.mark.parametrize(("unit", "told"), [(None, True), ("meter", False), ("mm", True)])
def test_a_volume_that_is_no_head_is_remarked_on(
    unit: str | None, told: bool, tmp_path: Path
) -> None:
    volume = LoadVolume(modality="MR")(situations_volumes.in_meters(unit)(tmp_path))
    assert (EXTENT in notes(volume)) is told


def test_the_small_inputs_are_read_as_they_are_meant(shared: Path) -> None:
    cases = shared / "cases"
    if not cases.is_dir():
        pytest.skip("no small inputs here")
    straight = LoadVolume(modality="MR")(cases / "mr_rounded_positions")
    assert straight.shape == (1, 64, 64, 20)
    assert notes(straight) == ""
    for name in ("pet_3frames.seq.nrrd", "spect_u8_3frames.nii.gz"):
        assert len(LoadVolume(modality="PET")(cases / "frames_as_color" / name)) == 1
    for name in ("c4f.nrrd", "c4g.nrrd", "c5b.mha", "c6b.mgh"):
        volume = LoadVolume(modality="MR")(cases / "no_orientation" / name)
        assert "does not place the volume" in notes(volume)
    for name in ("c1.nii", "c1c.nii"):
        assert LoadVolume(modality="MR")(cases / "quaternion" / name).shape == (1, 12, 14, 10)
